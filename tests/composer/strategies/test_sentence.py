import pytest
import torch
from safetensors import safe_open
from torch import nn

from composer.folding import fold_batch_norms
from composer.medium import Medium
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer, ComposerError
from composer.strategies.sentence import (
    SentenceComposer,
    SentenceModel,
    SentenceShape,
    TokenHead,
    TokenLearner,
    TokenMlp,
    compete,
)
from composer.strategies.towers import (
    INHERITED,
    SYMMETRIC,
    TOWERS,
    map_features,
    shrink_positions,
)
from composer.trunk import see_middle
from composer.vision import trunk_of
from composer.weights import write_safetensors
from tests.composer.tiny import (
    CONTEXT,
    IMAGE_PX,
    JOINT_DIM,
    TEXT_WIDTH,
    tiny_backbone,
    tiny_trunk_backbone,
)

SKETCH = Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]], [[0.2, 0.5], [0.7, 0.5]]])


def build(**options):
    torch.manual_seed(0)
    model = SentenceModel(tiny_backbone(), SentenceShape(**{"image_px": 64, **options}))
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.1)
    return model.eval()


@pytest.fixture(params=TOWERS)
def model(request):
    return build(tower=request.param)


@pytest.fixture
def small():
    return build()


def pixels(count=2, size=64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("head", TokenHead)
@pytest.mark.parametrize("num_tokens", [1, 4])
def test_tokens_have_the_shape_and_norm_of_token_embeddings(head, num_tokens):
    model = build(head=head, num_tokens=num_tokens)
    assert isinstance(model.head, TokenMlp if head is TokenHead.MLP else TokenLearner)
    tokens = model.tokens(pixels(32))
    assert tokens.shape == (32, num_tokens, TEXT_WIDTH)
    norm = float(tiny_backbone().token_table().norm(dim=-1).mean())
    assert tokens.norm(dim=-1).mean().item() == pytest.approx(norm, rel=0.01)


def test_weights_over_the_positions_sum_to_one_and_queries_compete():
    logits = torch.tensor([[[0.0, 2.0, 0.0], [0.0, 0.0, 1000.0]]])
    attention = compete(logits)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(1, 2))
    # Shares of the first query: one half, e^2 / (e^2 + 1), none.
    shares = torch.tensor([0.5, 0.880797, 0.0])
    torch.testing.assert_close(attention[0, 0], shares / shares.sum())
    nowhere = compete(torch.tensor([[[0.0, 0.0], [500.0, 500.0]]]))
    torch.testing.assert_close(nowhere, torch.full((1, 2, 2), 0.5))


def test_the_learner_looks_with_weights_that_sum_to_one():
    torch.manual_seed(0)
    learner = TokenLearner(8, TEXT_WIDTH, 1.0, 3)
    weights = learner.attend(torch.randn(2, 5, 8))
    assert weights.shape == (2, 3, 5)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 3))


@pytest.mark.parametrize("head", [TokenLearner, TokenMlp])
def test_the_order_of_the_positions_plays_no_part(head):
    torch.manual_seed(0)
    made, inputs = head(8, TEXT_WIDTH, 1.0, 3), torch.randn(2, 5, 8)
    torch.testing.assert_close(made(inputs[:, [3, 0, 4, 2, 1]]), made(inputs), atol=1e-6, rtol=0)


def test_a_reference_does_not_depend_on_its_batch(model):
    batch = pixels(3)
    together = model.tokens(batch)
    torch.testing.assert_close(model.tokens(batch[1:2]), together[1:2], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.tokens(batch.flip(0)), together.flip(0), atol=1e-5, rtol=0)


def test_images_are_resized_to_the_size_of_the_tower():
    model = build(image_px=32)
    flat = torch.full((1, 3, 64, 64), 0.3)
    torch.testing.assert_close(model.tokens(flat), model.tokens(flat[..., :32, :32]))
    assert map_features(model.tower, pixels(), 32).shape == (2, 4, 128)  # patches of 16 px


def test_only_tower_and_head_are_trained(model):
    names = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert names == ({"head"} if model.shape.tower == SYMMETRIC else {"tower", "head"})
    assert all(p.requires_grad for p in model.parameters())
    model.train()
    model.read(model.tokens(pixels(4)))[:, 0].sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == []
    assert model.num_parameters == sum(p.numel() for p in model.parameters())
    assert all(p.grad is None for p in tiny_backbone().model.parameters())


def test_the_symmetric_tower_is_the_backbones_and_its_weights_stay_out_of_the_file(tmp_path):
    model, backbone = build(tower=SYMMETRIC), tiny_backbone()
    size_px = backbone.image_size_px
    features = map_features(model.tower, pixels(size=size_px), 64)
    torch.testing.assert_close(features, backbone.encode_image(pixels(size=size_px)).hidden)
    assert map_features(model.tower, pixels(size=2 * size_px), 64).shape == features.shape
    model.save(tmp_path / "s.safetensors")
    with safe_open(tmp_path / "s.safetensors", "pt") as file:
        assert not any(name.startswith("tower") for name in file.keys())  # noqa: SIM118


def test_the_inherited_tower_begins_as_the_backbones_first_blocks_at_half_its_size():
    model, whole = build(tower=INHERITED), tiny_backbone().model.visual
    inherited = model.tower.visual
    assert (len(inherited.transformer.resblocks), len(whole.transformer.resblocks)) == (1, 2)
    half = tiny_backbone().image_size_px // 2
    assert model.tower.image_px == half
    assert torch.equal(inherited.conv1.weight, whole.conv1.weight)
    assert inherited.conv1.weight.data_ptr() != whole.conv1.weight.data_ptr()
    num_patches = (len(whole.positional_embedding) - 1) // 4
    assert len(inherited.positional_embedding) == 1 + num_patches
    assert torch.equal(inherited.positional_embedding[0], whole.positional_embedding[0])


def test_a_trunk_lends_its_first_stages_as_drawings_see_them_at_half_its_size():
    backbone = tiny_trunk_backbone()
    torch.manual_seed(0)
    model = SentenceModel(backbone, SentenceShape(tower=INHERITED, image_px=64))
    half, whole = IMAGE_PX // 2, trunk_of(backbone.model.visual, Medium.DRAWING)
    levels = pixels(size=half)
    expected = see_middle(whole, levels).flatten(2).mT
    torch.testing.assert_close(model.map_features(levels), expected, atol=1e-5, rtol=1e-4)
    assert model.map_features(pixels(size=IMAGE_PX)).shape == expected.shape
    own = {p.data_ptr() for p in model.tower.parameters()}
    assert own.isdisjoint(p.data_ptr() for p in backbone.model.parameters())
    model.train()
    model.read(model.tokens(levels))[:, 0].sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    folded = fold_batch_norms(model.tower, half)
    torch.testing.assert_close(
        map_features(folded, levels, half), model.map_features(levels), atol=1e-4, rtol=1e-3
    )


def test_the_symmetric_tower_of_a_trunk_sees_each_medium_its_own_way():
    backbone = tiny_trunk_backbone()
    model = SentenceModel(backbone, SentenceShape(tower=SYMMETRIC, image_px=64))
    levels = pixels(3)
    drawn, photographed = (
        backbone.encode_image(levels, m).hidden for m in (Medium.DRAWING, Medium.PHOTO)
    )
    mixed = model.map_features(levels, torch.tensor([False, True, False]))
    expected = torch.stack([drawn[0], photographed[1], drawn[2]])
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.map_features(levels), drawn, atol=1e-5, rtol=1e-4)


def test_positions_of_a_smaller_grid_lie_between_those_of_the_larger():
    rows = torch.arange(4.0).repeat_interleave(4)  # the vector of a place is its row
    positions = torch.cat([torch.tensor([9.0]), rows])[:, None]
    shrunk = shrink_positions(positions, (4, 4), 2)[:, 0]
    assert shrunk[0] == 9
    torch.testing.assert_close(shrunk[1:], torch.tensor([0.5, 0.5, 2.5, 2.5]), atol=0.2, rtol=0)


def test_building_leaves_running_statistics_alone():
    model = SentenceModel(tiny_backbone(), SentenceShape(tower="medium", image_px=64))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(torch.equal(m.running_var, torch.ones_like(m.running_var)) for m in norms)
    assert model.tower.training


def test_a_few_steps_bring_sentences_nearer_to_their_images_and_leave_the_backbone_alone(small):
    backbone, torch_seed = tiny_backbone(), torch.Generator().manual_seed(2)
    before = {name: t.clone() for name, t in backbone.model.state_dict().items()}
    targets = nn.functional.normalize(torch.randn(4, JOINT_DIM, generator=torch_seed), dim=-1)
    small.train()
    optimiser = torch.optim.AdamW(small.parameters(), lr=3e-3)
    cosines = []
    for _ in range(12):
        cosine = (small.read(small.tokens(pixels(4))) * targets).sum(dim=-1).mean()
        cosines.append(cosine.item())
        optimiser.zero_grad()
        (1 - cosine).backward()
        optimiser.step()
    assert cosines[-1] > cosines[0] + 0.1
    assert all(torch.equal(t, before[n]) for n, t in backbone.model.state_dict().items())


def test_the_file_round_trips_exactly(model, tmp_path):
    path = tmp_path / "sentence.safetensors"
    model.save(path, notes={"steps": "7"})
    with safe_open(path, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert all(name.startswith(("tower.", "head.")) for name in names)
    assert (metadata["schema"], metadata["tower"]) == ("sentence-composer/1", model.shape.tower)
    assert (metadata["num_tokens"], metadata["steps"]) == ("4", "7")
    loaded = SentenceModel.load(path, tiny_backbone())
    assert loaded.shape == model.shape
    assert not loaded.training
    assert torch.equal(loaded.tokens(pixels()), model.tokens(pixels()))


def test_half_precision_is_close_and_keeps_tiny_variances(tmp_path):
    model = build(tower="medium")
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    norm.running_var[0] = 1e-9  # nothing in fp16
    for name, half in (("whole", False), ("half", True)):
        model.save(tmp_path / f"{name}.safetensors", half=half)
    loaded = SentenceModel.load(tmp_path / "half.safetensors", tiny_backbone())
    kept = next(m for m in loaded.modules() if isinstance(m, nn.BatchNorm2d))
    assert torch.equal(kept.running_var, norm.running_var)
    result, expected = loaded.tokens(pixels()), model.tokens(pixels())
    assert torch.cosine_similarity(result, expected, dim=-1).min() > 0.999
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]


def test_the_file_of_another_backbone_is_refused(small, tmp_path):
    small.save(tmp_path / "s.safetensors")
    with pytest.raises(ComposerError, match="trained on another backbone"):
        SentenceComposer.load(tmp_path / "s.safetensors", tiny_backbone(seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "duet-composer/2"}, "not a sentence composer"),
        ({"tower": "huge"}, "no tower 'huge'; choose one of: small, medium, large, inherited"),
        ({"num_tokens": "many"}, "does not state its size"),
        ({"head": "tail"}, "does not state its size"),
        ({"num_tokens": "1000000"}, "`num_tokens` must lie between 1 and 32, got 1000000"),
        ({"num_tokens": "3"}, "must have shape"),
    ],
)
def test_files_that_say_something_else_are_refused(small, tmp_path, changes, message):
    path = tmp_path / "s.safetensors"
    small.save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    write_safetensors(path, small.state_dict(), metadata | changes)
    with pytest.raises(ComposerError, match=message):
        SentenceModel.load(path, tiny_backbone())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ComposerError, match="cannot be read"):
        SentenceModel.load(tmp_path / "none.safetensors", tiny_backbone())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tower": "Small"}, "no tower 'Small'; choose one of: small, medium, large, inherited"),
        ({"num_tokens": 0}, "`num_tokens` must lie between 1 and 32, got 0"),
        ({"image_px": 100}, "`image_px` must be a multiple of 32 up to 512, got 100"),
        ({"image_px": 0}, "`image_px` must be a multiple of 32"),
        ({"image_px": 544}, "`image_px` must be a multiple of 32"),
    ],
)
def test_impossible_shapes_are_refused(options, message):
    with pytest.raises(ComposerError, match=message):
        SentenceShape(**options)


def test_more_tokens_than_a_prompt_can_hold_are_refused():
    room = CONTEXT - 2 - len([i for word in tiny_backbone().word_ids("a photo of") for i in word])
    SentenceModel(tiny_backbone(), SentenceShape(num_tokens=room, image_px=64))
    with pytest.raises(ComposerError, match=f"at most {room} pseudo-words, got {room + 1}"):
        SentenceModel(tiny_backbone(), SentenceShape(num_tokens=room + 1, image_px=64))


@pytest.mark.parametrize("tower", TOWERS)
def test_folded_towers_see_the_same_without_batch_norms(tower):
    model = build(tower=tower)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    folded = fold_batch_norms(model.tower, 64)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    result, expected = (map_features(t, pixels(), 64) for t in (folded, model.tower))
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-3)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_the_composer_fits_the_protocol_and_its_tokens_are_the_models(model):
    composer, backbone = SentenceComposer(model), tiny_backbone()
    assert isinstance(composer, Composer)
    image = Query(sketch=SKETCH)
    encoded = composer.encode(image)
    assert encoded.patch_features is None
    assert encoded.image_feature is None
    assert encoded.pseudo_tokens.shape == (4, TEXT_WIDTH)
    alone = model.read(encoded.pseudo_tokens[None])[0]
    query = composer.compose(encoded, "red oak")
    prompt = query.prompt_embeddings[None]
    feature = backbone.encode_embeddings(prompt, torch.tensor([query.end_position])).features[0]
    torch.testing.assert_close(feature, query.both_feature, atol=1e-6, rtol=0)
    ids = [[i for word in backbone.word_ids("red oak") for i in word]]
    both = model.read(encoded.pseudo_tokens[None], ids)[0]
    torch.testing.assert_close(both, query.both_feature, atol=1e-6, rtol=0)
    torch.testing.assert_close(query.reference_feature, alone, atol=1e-6, rtol=0)


def test_composing_never_runs_the_vision_tower(small, monkeypatch):
    def refuse(_pixels):
        raise AssertionError("the vision tower was run")

    monkeypatch.setattr(tiny_backbone(), "encode_image", refuse)
    composer = SentenceComposer(small)
    composer.compose(composer.encode(Query(sketch=SKETCH)), "red")


def test_one_side_alone_is_composed(small):
    composer = SentenceComposer(small)
    silent = composer.compose(composer.encode(Query(sketch=SKETCH)), " ")
    assert silent.words_feature is None
    assert torch.equal(silent.feature, silent.reference_feature)
    words = composer.compose(composer.encode(Query(text="red")), "red")
    assert words.reference_feature is None
    plain = tiny_backbone().encode_text(["a photo of red"])[0]
    torch.testing.assert_close(words.feature, plain, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="The query is empty"):
        composer.compose(composer.encode(Query(text="red")), "")
