"""What every composer must do, whatever its method."""

import pytest
import torch

from composer import vision
from composer.composed import ComposedQuery, rebalance
from composer.kit_parts import ComposerFiles
from composer.medium import Medium
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import COMPOSERS, load_composer
from composer.strategies.converter import TextConverter
from composer.strategies.duet import DuetModel
from composer.strategies.modality import ModalityModel
from composer.strategies.prompted import PromptedModel
from composer.strategies.protocol import ComposerError, encode_all
from composer.strategies.sentence import SentenceModel, SentenceShape
from composer.trunk import has_trunk
from composer.vision import trunk_of
from composer.weights import read_safetensors
from retrieval.fusion import similarities
from tests.composer.tiny import FAMILIES, JOINT_DIM, TEXT_WIDTH, tiny_backbone
from tests.pictures import noise

SKETCH = Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]], [[0.2, 0.5], [0.7, 0.5]]])
OTHER = Sketch.from_strokes([[[0, 1], [0.5, 0], [1, 1], [0, 1]]])
PHOTO = noise((80, 60), 90).convert("RGB")
REFERENCES = {"sketch": Query(sketch=SKETCH), "photo": Query(image=PHOTO)}


TRAINED = {
    "converter": TextConverter,
    "duet": DuetModel,
    "modality": ModalityModel,
    "prompted": PromptedModel,
    "prompted-category": PromptedModel,
    "sentence": SentenceModel,
    "sentence-small": SentenceModel,
    "sentence-medium": SentenceModel,
    "sentence-large": SentenceModel,
    "sentence-symmetric": SentenceModel,
}
SHAPES = {
    "sentence": SentenceShape(tower="inherited", image_px=64),
    "sentence-small": SentenceShape(tower="small", image_px=64),
    "sentence-medium": SentenceShape(tower="medium", image_px=64),
    "sentence-large": SentenceShape(tower="large", image_px=64, num_tokens=2),
    "sentence-symmetric": SentenceShape(tower="symmetric", image_px=64),
}
SETTINGS = {"inversion": {"max_steps": 8, "num_restarts": 1}}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def backbone(family):
    return family()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    """Weights of every trained composer, moved a little at random."""
    path = tmp_path_factory.mktemp("kit")
    for number, (name, kind) in enumerate(TRAINED.items()):
        torch.manual_seed(number)
        model = kind(backbone, *([SHAPES[name]] if name in SHAPES else []))
        with torch.no_grad():
            for key, tensor in model.trainable_state().items():
                if not key.endswith("running_var"):
                    tensor.add_(0.1 * torch.randn_like(tensor))
        model.save(path / f"{name}.safetensors")
    return path


def files_of(folder, name, *, converter=True):
    has_weights = name in TRAINED
    return ComposerFiles(
        weights=folder / f"{name}.safetensors" if has_weights else None,
        converter=folder / "converter.safetensors" if converter else None,
        settings=SETTINGS.get(name, {}),
    )


BARE = ["slerp", "modality", "prompted", "basic", "freedom", "product"]


@pytest.fixture(params=[*COMPOSERS, *(f"{name} bare" for name in BARE)])
def composer(request, folder, backbone):
    name, _, bare = request.param.partition(" ")
    return load_composer(name, backbone, files_of(folder, name, converter=not bare))


def compose(composer, query, text="", **options):
    return composer.compose(composer.encode(query), text, **options)


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_the_result_is_complete(composer, reference):
    query = compose(composer, reference, "red oak")
    assert isinstance(query, ComposedQuery)
    assert (query.composer, query.text, query.balance) == (composer.name, "red oak", 0.5)
    assert query.gallery_hash == composer.backbone.gallery_hash
    assert query.text_hash == composer.backbone.text_hash
    features = (query.feature, query.both_feature, query.reference_feature, query.words_feature)
    for feature in features:
        assert feature.shape == (JOINT_DIM,)
        assert feature.norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(query.feature, query.both_feature)
    if not composer.name.startswith("sentence"):  # a light tower's map is not in the joint space
        rows, columns = composer.backbone.grid
        assert query.patch_features.shape == (rows * columns, JOINT_DIM)


def test_the_prompt_is_spliced_or_its_absence_is_explained(composer):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    if query.missing_tokens:
        assert query.missing_tokens.endswith(".")
        assert query.prompt_embeddings.shape == (0, TEXT_WIDTH)
        return
    backbone = composer.backbone
    assert query.prompt_embeddings.shape == (backbone.context_length, TEXT_WIDTH)
    positions = list(query.pseudo_positions)
    assert len(positions) == len(query.pseudo_tokens) > 0
    assert torch.equal(query.prompt_embeddings[positions], query.pseudo_tokens)
    end = backbone.token_table()[backbone.end_id]
    assert torch.equal(query.prompt_embeddings[query.end_position], end)


@pytest.mark.parametrize("name", [*BARE, "prompted-category"])
def test_the_converter_of_a_kit_gives_tokens_to_those_that_have_none(name, folder, backbone):
    with_it, bare = (
        load_composer(name, backbone, files_of(folder, name, converter=has_it))
        for has_it in (True, False)
    )
    assert len(compose(with_it, REFERENCES["sketch"], "red").pseudo_tokens) > 0
    assert compose(bare, REFERENCES["sketch"], "red").missing_tokens


def test_reference_and_words_both_matter(composer):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    assert not torch.allclose(
        query.feature, compose(composer, Query(sketch=OTHER), "red oak").feature
    )
    assert not torch.allclose(
        query.feature, compose(composer, REFERENCES["sketch"], "blue").feature
    )


def test_the_ends_of_the_balance_are_the_queries_of_a_single_side(composer):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    sketch_only = compose(composer, REFERENCES["sketch"])
    words_only = compose(composer, Query(text="red oak"), "red oak")
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(rebalance(query, 0.0).feature, sketch_only.feature, **close)
    torch.testing.assert_close(rebalance(query, 1.0).feature, words_only.feature, **close)
    direct = compose(composer, REFERENCES["sketch"], "red oak", balance=0.3)
    torch.testing.assert_close(rebalance(query, 0.3).feature, direct.feature)


def test_the_ends_of_the_balance_rank_as_the_queries_of_a_single_side(composer):
    # BASIC compares a photo alone as a whole, and centred as soon as there are words.
    side = REFERENCES["sketch" if composer.name == "basic" else "photo"]
    query = compose(composer, side, "red oak")
    gallery = torch.nn.functional.normalize(
        torch.randn(40, JOINT_DIM, generator=torch.manual_seed(0)), dim=-1
    )
    reference = compose(composer, side)
    words = compose(composer, Query(text="red oak"), "red oak")
    given = similarities([rebalance(query, 0.0), rebalance(query, 1.0)], gallery)
    torch.testing.assert_close(given, similarities([reference, words], gallery), atol=1e-4, rtol=0)
    both = similarities([query], gallery)[0]
    assert not torch.allclose(both, given[0], atol=1e-3)
    assert not torch.allclose(both, given[1], atol=1e-3)


def test_a_missing_side_is_left_out(composer):
    sketch_only = compose(composer, REFERENCES["sketch"], "  ")
    assert sketch_only.words_feature is None
    assert torch.equal(sketch_only.feature, sketch_only.reference_feature)
    words_only = compose(composer, Query(text="red"), "red")
    assert words_only.reference_feature is None
    assert len(words_only.pseudo_tokens) == 0
    assert not words_only.missing_tokens
    with pytest.raises(ValueError, match="The query is empty"):
        compose(composer, Query(text="red"), "")


def test_the_text_of_an_encoded_query_plays_no_part(composer):
    silent, wordy = (composer.encode(Query(sketch=SKETCH, text=t)) for t in ("", "green"))
    for name in ("image_feature", "pseudo_tokens"):
        value, other = getattr(silent, name), getattr(wordy, name)
        assert (value is None and other is None) or torch.equal(value, other)


def test_encoding_side_by_side_gives_what_each_gives_alone(composer):
    queries = [*REFERENCES.values(), Query(text="red"), Query(sketch=OTHER)]
    batched = list(encode_all(composer, iter(queries), batch_size=3))
    assert len(batched) == len(queries)
    for encoded, query in zip(batched, queries, strict=True):
        alone = composer.encode(query)
        for name in ("image_feature", "pseudo_tokens", "patch_features"):
            value, other = getattr(alone, name), getattr(encoded, name)
            assert (value is None) == (other is None)
            if value is not None:
                torch.testing.assert_close(other, value, atol=1e-3, rtol=1e-3)


def test_composing_is_deterministic_and_changes_nothing(composer):
    table = composer.backbone.token_table().clone()
    first = compose(composer, REFERENCES["sketch"], "red oak")
    compose(composer, Query(sketch=OTHER), "blue " * 99)
    assert compose(composer, REFERENCES["sketch"], "red oak").digest == first.digest
    assert torch.equal(composer.backbone.token_table(), table)


def test_nothing_carries_a_graph_and_everything_saves(composer, tmp_path):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    assert not query.feature.requires_grad
    assert not query.prompt_embeddings.requires_grad
    query.save(tmp_path / "q.safetensors")
    assert ComposedQuery.load(tmp_path / "q.safetensors").digest == query.digest


@pytest.mark.parametrize("balance", [-1.0, 2.0, float("nan")])
def test_balances_outside_are_refused(composer, balance):
    with pytest.raises(ValueError, match="`balance` must lie between 0 and 1"):
        compose(composer, REFERENCES["sketch"], "red", balance=balance)


def test_unknown_names_are_refused_exactly():
    with pytest.raises(ComposerError, match="no composer 'Duet'; choose one of: duet, modality"):
        load_composer("Duet", tiny_backbone())


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "converter"])
def test_a_trained_composer_needs_its_weights(name):
    with pytest.raises(ComposerError, match=f"{name} composer needs .* duet train composer {name}"):
        load_composer(name, tiny_backbone())


def test_wrong_settings_of_a_kit_are_reported():
    with pytest.raises(ComposerError, match="settings of slerp in the kit are wrong"):
        load_composer("slerp", tiny_backbone(), ComposerFiles(settings={"beta": 1}))
    with pytest.raises(ComposerError, match=r"slerp in the kit are wrong.*`alpha`"):
        load_composer("slerp", tiny_backbone(), ComposerFiles(settings={"alpha": 7.0}))


@pytest.mark.parametrize("name", TRAINED)
def test_files_come_back_and_those_of_another_backbone_or_kind_are_refused(
    name, folder, family, tmp_path
):
    path, kind = folder / f"{name}.safetensors", TRAINED[name]
    backbone = family()
    model = kind.load(path, backbone)
    model.save(tmp_path / "again.safetensors")
    again = kind.load(tmp_path / "again.safetensors", backbone)
    for key, tensor in model.trainable_state().items():
        assert torch.equal(again.trainable_state()[key], tensor), key
    model.save(tmp_path / "half.safetensors", half=True)
    for key, tensor in read_safetensors(tmp_path / "half.safetensors").tensors.items():
        assert tensor.dtype is (torch.float16 if tensor.ndim > 1 else torch.float32), key
    with pytest.raises(ComposerError, match="was trained on another backbone"):
        kind.load(path, family(seed=3))
    other = "duet" if name != "duet" else "converter"
    with pytest.raises(ComposerError, match=r"is not a .* of this program"):
        kind.load(folder / f"{other}.safetensors", backbone)


TOWERS = {"duet": DuetModel, "modality": ModalityModel, "prompted": PromptedModel}


# Weights and biases of the tiny towers: a ViT of two blocks has ln_pre, ln_post and two norms a
# block, 48 wide; the trunk's thirteen batch norms have these channels together.
NUM_NORMS = {"vit": 2 * (2 + 2 * 2) * 48, "trunk": 2 * 1264}


@pytest.mark.parametrize("family_name", FAMILIES)
@pytest.mark.parametrize("name", TOWERS)
def test_only_the_normalisation_layers_of_a_query_tower_are_trained(name, family_name):
    backbone = FAMILIES[family_name]()
    model = TOWERS[name](backbone)
    trainable = {n: p for n, p in model.tower.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trainable.values()) == NUM_NORMS[family_name]
    frozen = dict(backbone.model.visual.named_parameters(remove_duplicate=False))
    for key, parameter in model.tower.named_parameters(remove_duplicate=False):
        shares = parameter.data_ptr() == frozen[key].data_ptr()
        assert shares == (key not in trainable), key


@pytest.mark.parametrize("name", TOWERS)
def test_running_statistics_are_the_kits_and_never_move(name):
    backbone = FAMILIES["trunk"]()
    model = TOWERS[name](backbone).train()
    kept = {n: b.clone() for n, b in backbone.model.visual.named_buffers()}
    pixels = torch.randn(4, 3, 64, 64)
    model.encode_image(pixels, Medium.DRAWING).features.sum().backward()
    model.encode_image(pixels, Medium.PHOTO)
    running = dict(model.tower.named_buffers(remove_duplicate=False))
    assert any(key.endswith("running_mean") for key in running)
    for key, buffer in backbone.model.visual.named_buffers(remove_duplicate=False):
        assert running[key].data_ptr() == buffer.data_ptr(), key
    assert all(torch.equal(b, kept[n]) for n, b in backbone.model.visual.named_buffers())


@torch.no_grad()
def test_a_kit_that_tells_media_apart_is_asked_for_the_right_one(composer, monkeypatch):
    """Every picture that the frozen trunk or a copy of it sees comes as what it is."""
    if not has_trunk(composer.backbone.model.visual):
        pytest.skip("A ViT sees all pictures alike.")
    seen = []

    def see(visual, medium):
        seen.append(medium)
        return trunk_of(visual, medium)

    monkeypatch.setattr(vision, "trunk_of", see)
    is_light = composer.name.startswith("sentence") and composer.name != "sentence-symmetric"
    for name, medium in (("sketch", Medium.DRAWING), ("photo", Medium.PHOTO)):
        seen.clear()
        composer.encode(REFERENCES[name])
        # A photo is what it looks like, too: alone it searches by itself.
        assert set(seen) == (set() if is_light and name == "sketch" else {medium})
