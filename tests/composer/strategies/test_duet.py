import pytest
import torch
from safetensors import safe_open

from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.converter import NUM_TOKENS, Converter
from composer.strategies.duet import DuetComposer, DuetModel, DuetShape
from composer.strategies.protocol import ComposerError
from composer.vision import norm_layers
from composer.weights import read_safetensors, write_safetensors
from tests.composer.tiny import JOINT_DIM, TEXT_WIDTH, tiny_backbone

SKETCH = Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]], [[0.2, 0.5], [0.7, 0.5]]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = DuetModel(tiny_backbone())
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def test_only_layer_norms_converter_and_three_vectors_are_trained(model):
    backbone = tiny_backbone()
    width, layers = 48, 2
    norms = 2 * width * (2 * layers + 2)  # two a block, before and after the transformer
    hidden = 2 * TEXT_WIDTH
    converter = (JOINT_DIM + 1) * hidden + (hidden + 1) * hidden
    converter += (hidden + 1) * NUM_TOKENS * TEXT_WIDTH + 2 * TEXT_WIDTH
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == norms + converter + 3 * TEXT_WIDTH
    assert model.prompt.shape == (3, TEXT_WIDTH)
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert {id(p) for p in model.trainable_state().values()} == {
        id(p) for p in model.parameters() if p.requires_grad
    }


def test_tokens_have_the_norm_of_the_token_table():
    norm = float(tiny_backbone().token_table().norm(dim=-1).mean())
    tokens = Converter(JOINT_DIM, TEXT_WIDTH, norm)(torch.randn(64, JOINT_DIM))
    assert tokens.norm(dim=-1).mean().item() == pytest.approx(norm, rel=0.01)


def test_the_untrained_tower_is_the_frozen_one():
    backbone = tiny_backbone()
    pixels = torch.randn(2, 3, 64, 64)
    expected = backbone.encode_image(pixels).features
    assert torch.equal(DuetModel(backbone).encode_image(pixels).features, expected)


def test_the_file_holds_the_trained_part_alone_and_round_trips(model, tmp_path):
    path = tmp_path / "duet.safetensors"
    model.residual, model.residual_alone, model.words_share = 0.15, 1.5, 0.75
    model.save(path, notes={"steps": "7"})
    with safe_open(path, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert names == {*model.trainable_state(), "residual"}
    assert metadata["steps"] == "7"
    trained = names - {"prompt", "residual"}
    assert all(n.startswith(("layer_norms.", "converter.")) for n in trained)
    loaded = DuetModel.load(path, tiny_backbone())
    pixels = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.encode_image(pixels).features, model.encode_image(pixels).features)
    assert torch.equal(loaded.prompt, model.prompt)
    assert (loaded.residual, loaded.residual_alone, loaded.words_share) == (0.15, 1.5, 0.75)
    assert set(norm_layers(loaded.tower)) == set(norm_layers(model.tower))


def test_half_precision_is_close(model, tmp_path):
    model.save(tmp_path / "h.safetensors", half=True)
    loaded = DuetModel.load(tmp_path / "h.safetensors", tiny_backbone())
    pixels = torch.randn(1, 3, 64, 64)
    result, expected = (m.encode_image(pixels).features for m in (loaded, model))
    assert (result * expected).sum() > 0.999


def test_the_composer_of_another_backbone_is_refused(model, tmp_path):
    model.save(tmp_path / "duet.safetensors")
    with pytest.raises(ComposerError, match="trained on another backbone"):
        DuetComposer.load(tmp_path / "duet.safetensors", tiny_backbone(seed=1))


def test_another_width_is_refused_with_a_sentence(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model.backbone, "token_width", 1024)
    model.save(tmp_path / "duet.safetensors")
    monkeypatch.undo()
    with pytest.raises(ComposerError, match=r"`token_width` must equal .* \(32\), got 1024"):
        DuetModel.load(tmp_path / "duet.safetensors", tiny_backbone())


def test_other_weights_are_refused(tmp_path):
    query = DuetComposer(DuetModel(tiny_backbone()))
    query.compose(query.encode(Query(sketch=SKETCH)), "red").save(tmp_path / "q.safetensors")
    with pytest.raises(ComposerError, match="not a duet composer"):
        DuetModel.load(tmp_path / "q.safetensors", tiny_backbone())
    with pytest.raises(ComposerError, match="cannot be read"):
        DuetModel.load(tmp_path / "none.safetensors", tiny_backbone())


def test_the_composed_prompt_reproduces_the_composed_feature(model):
    composer, backbone = DuetComposer(model), tiny_backbone()
    query = composer.compose(composer.encode(Query(sketch=SKETCH)), "red oak")
    encoding = backbone.encode_embeddings(
        query.prompt_embeddings[None], torch.tensor([query.end_position])
    ).features[0]
    torch.testing.assert_close(encoding, query.both_feature, atol=1e-6, rtol=0)
    assert torch.equal(query.prompt_embeddings[1:4], model.prompt)
    assert query.pseudo_positions == tuple(range(4, 4 + NUM_TOKENS))
    assert torch.equal(query.prompt_embeddings[4 : 4 + NUM_TOKENS], query.pseudo_tokens)
    assert isinstance(query, ComposedQuery)


def test_words_alone_use_a_plain_prompt(model):
    composer, backbone = DuetComposer(model), tiny_backbone()
    query = composer.compose(composer.encode(Query(text="red")), "red")
    torch.testing.assert_close(
        query.feature, backbone.encode_text(["a photo of red"])[0], atol=1e-6, rtol=0
    )


def test_the_residual_leads_towards_the_reference_and_leaves_words_and_tokens_alone(model):
    composer = DuetComposer(model)
    encoded = composer.encode(Query(sketch=SKETCH))
    image_feature = encoded.image_feature
    paper = composer.compose(encoded, "red")
    model.residual, model.residual_alone, model.words_share = 0.5, 2.0, 0.25
    completed = composer.compose(encoded, "red")
    assert paper.words_feature is not None
    assert paper.reference_feature is not None
    both = paper.both_feature + 0.25 * paper.words_feature + 0.5 * image_feature
    alone = paper.reference_feature + 2.0 * image_feature
    torch.testing.assert_close(completed.both_feature, both / both.norm())
    torch.testing.assert_close(completed.reference_feature, alone / alone.norm())
    assert torch.equal(completed.words_feature, paper.words_feature)
    assert torch.equal(completed.prompt_embeddings, paper.prompt_embeddings)
    alone = composer.compose(encoded, "")
    torch.testing.assert_close(alone.both_feature, completed.reference_feature)


def test_a_file_of_one_share_has_it_for_references_alone_too(tmp_path, model):
    path, older = tmp_path / "duet.safetensors", tmp_path / "older.safetensors"
    model.residual = 0.25
    model.save(path)
    found = read_safetensors(path)
    added = ("residual_alone", "words_share")
    facts = {n: v for n, v in found.metadata.items() if n not in added}
    write_safetensors(older, found.tensors, facts)
    loaded = DuetModel.load(older, tiny_backbone())
    assert (loaded.residual_alone, loaded.words_share) == (0.25, 0.0)
    write_safetensors(older, found.tensors, {**facts, "residual_alone": "much"})
    with pytest.raises(ComposerError, match="a share is no number"):
        DuetModel.load(older, tiny_backbone())


def test_another_size_is_kept_in_the_file_and_a_wrong_one_refused(tmp_path):
    backbone = tiny_backbone()
    path = tmp_path / "duet.safetensors"
    DuetModel(backbone, DuetShape(prompt_length=2, num_tokens=5)).save(path)
    loaded = DuetModel.load(path, backbone)
    assert loaded.prompt.shape == (2, TEXT_WIDTH)
    assert loaded.convert(torch.zeros(1, backbone.joint_dim)).shape == (1, 5, TEXT_WIDTH)
    with pytest.raises(ComposerError, match="`num_tokens` must lie between 1 and 32, got 33"):
        DuetShape(num_tokens=33)
    with pytest.raises(ComposerError, match="`prompt_length` must lie between 1 and 16, got 0"):
        DuetShape(prompt_length=0)
    assert DuetShape(prompt_length=1, num_tokens=1).num_tokens == 1
    assert DuetShape(prompt_length=16, num_tokens=32).prompt_length == 16


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("33", "`num_tokens` must lie between 1 and 32, got 33"),
        ("many", "duet.safetensors is damaged: it does not state its size"),
    ],
)
def test_a_file_that_says_no_possible_size_is_refused(model, tmp_path, told, sentence):
    path = tmp_path / "duet.safetensors"
    model.save(path)
    whole = read_safetensors(path)
    write_safetensors(path, whole.tensors, whole.metadata | {"num_tokens": told})
    with pytest.raises(ComposerError, match=sentence):
        DuetModel.load(path, tiny_backbone())
