from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity, normalize

from composer.composed import ComposedQuery, rebalance
from composer.prompt import build_prompt
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.inversion import InversionComposer, InversionSettings, invert
from composer.strategies.protocol import Composer, EncodedReference
from composer.strategies.reference import encode_prompts, reference_pixels
from composer.strategies.slerp import modality_shift
from composer.training.phrases import HAND_PROMPTS
from tests.composer.tiny import JOINT_DIM, TEXT_WIDTH, tiny_backbone

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]]))
PHOTO = Query(
    image=Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
)
QUICK = InversionSettings(max_steps=40, patience=20, tolerance=0.0, num_restarts=2)


def seen(query):
    pixels = reference_pixels(tiny_backbone(), query)
    with torch.no_grad():
        return tiny_backbone().encode_image(pixels).features


def targets(num, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num, JOINT_DIM, generator=generator), dim=-1)


@torch.no_grad()
def template_cosines(tokens, target):
    """The cosine in each template, by the plain way of laying out prompts."""
    prompts = [build_prompt(tiny_backbone(), text, tokens, "") for text in HAND_PROMPTS]
    text = torch.stack(encode_prompts(tiny_backbone(), prompts))
    return cosine_similarity(text, target[None], dim=-1)


def test_the_tokens_come_far_nearer_to_the_target_than_words_and_start():
    target = seen(PHOTO)
    table = tiny_backbone().token_table()
    words = tiny_backbone().encode_text(["a photo of a thing"])
    start = template_cosines(table.mean(dim=0, keepdim=True), target[0]).mean().item()
    inversion = invert(tiny_backbone(), target, replace(QUICK, max_steps=120, patience=120))
    assert inversion.tokens.shape == (1, 1, TEXT_WIDTH)
    assert inversion.cosines.item() > start + 0.3
    assert inversion.cosines.item() > cosine_similarity(words, target).item() + 0.3


@pytest.mark.parametrize("num_tokens", [1, 3])
def test_the_cosine_is_the_mean_over_all_templates(num_tokens):
    inversion = invert(tiny_backbone(), targets(2), replace(QUICK, num_tokens=num_tokens))
    for tokens, cosine, target in zip(inversion.tokens, inversion.cosines, targets(2), strict=True):
        assert tokens.shape == (num_tokens, TEXT_WIDTH)
        assert cosine.item() == pytest.approx(
            template_cosines(tokens, target).mean().item(), abs=1e-5
        )


def test_no_template_is_favoured():
    inverted = invert(tiny_backbone(), targets(6), QUICK).tokens
    cosines = torch.stack(
        [template_cosines(*pair) for pair in zip(inverted, targets(6), strict=True)]
    )
    # Tokens fitted in one template alone lose 0.4 in the others.
    assert torch.all((cosines.mean(dim=0) - cosines.mean()).abs() < 0.15)


def test_the_seed_and_the_feature_decide_the_tokens():
    first = invert(tiny_backbone(), targets(1), QUICK).tokens
    assert torch.equal(invert(tiny_backbone(), targets(1), QUICK).tokens, first)
    torch.manual_seed(99)
    assert torch.equal(invert(tiny_backbone(), targets(1), QUICK).tokens, first)
    other_seed = invert(tiny_backbone(), targets(1), replace(QUICK, seed=1)).tokens
    assert not torch.allclose(other_seed, first, atol=0.01)
    unmoved = replace(QUICK, learning_rate=1e-9, max_steps=1)
    starts = invert(tiny_backbone(), targets(2), unmoved).tokens
    assert not torch.allclose(starts[0], starts[1], atol=0.01)


def test_each_feature_of_a_batch_gets_what_it_gets_alone():
    # The tolerance lets the features stop at different steps; rounding grows with their number,
    # on some processors to 0.001. Tokens of other features differ by 0.1.
    settings = replace(QUICK, max_steps=60, patience=10, tolerance=0.05)
    together = invert(tiny_backbone(), targets(4), settings)
    assert len(together.num_steps.unique()) > 1
    for i, target in enumerate(targets(4)):
        alone = invert(tiny_backbone(), target[None], settings)
        assert alone.num_steps[0] == together.num_steps[i]
        torch.testing.assert_close(alone.tokens[0], together.tokens[i], atol=0.01, rtol=0)
        torch.testing.assert_close(alone.cosines[0], together.cosines[i], atol=0.005, rtol=0)


def test_the_best_restart_wins_and_more_of_them_never_hurt():
    short = replace(QUICK, max_steps=10, patience=10)
    result = [
        invert(tiny_backbone(), targets(6), replace(short, num_restarts=n)).cosines
        for n in (1, 2, 8)
    ]
    assert torch.all(result[1] >= result[0] - 1e-5)
    assert torch.all(result[2] >= result[1] - 1e-5)
    assert result[2].mean() > result[0].mean() + 0.01


def test_it_stops_when_nothing_is_gained_and_never_exceeds_its_steps():
    content = invert(tiny_backbone(), targets(2), replace(QUICK, tolerance=2.0))
    assert content.num_steps.tolist() == [20, 20]
    eager = invert(tiny_backbone(), targets(2), replace(QUICK, max_steps=50))
    assert eager.num_steps.tolist() == [50, 50]
    impatient = invert(tiny_backbone(), targets(1), replace(QUICK, max_steps=5))
    assert impatient.num_steps.tolist() == [5]


def test_the_result_is_never_worse_than_the_start():
    wild = replace(QUICK, learning_rate=50.0, max_steps=20)
    start = replace(QUICK, learning_rate=1e-9, max_steps=1, ema_decay=0.0)
    lowest = invert(tiny_backbone(), targets(4), start).cosines
    inverted = invert(tiny_backbone(), targets(4), wild).tokens
    for tokens, target, least in zip(inverted, targets(4), lowest, strict=True):
        assert template_cosines(tokens, target).mean() >= least - 1e-5


def test_the_running_mean_is_of_all_steps_alike_when_its_memory_is_long():
    # Two steps at a decay near one: the mean of both, not a remnant of the empty start.
    first, second = (
        invert(
            tiny_backbone(),
            targets(1),
            replace(QUICK, num_restarts=1, max_steps=n, patience=n, ema_decay=decay),
        ).tokens
        for n, decay in ((1, 0.0), (2, 0.0))
    )
    mean = invert(
        tiny_backbone(),
        targets(1),
        replace(QUICK, num_restarts=1, max_steps=2, patience=2, ema_decay=0.999),
    ).tokens
    torch.testing.assert_close(mean, (first + second) / 2, atol=1e-4, rtol=0)


def test_the_pull_keeps_the_norm_of_the_table():
    norm = tiny_backbone().token_table().norm(dim=-1).mean()

    def distance(weight):
        inversion = invert(tiny_backbone(), targets(4), replace(QUICK, norm_weight=weight))
        return (inversion.tokens.norm(dim=-1) / norm - 1).abs().mean().item()

    assert distance(0.0) > 1.0
    assert distance(10.0) < 0.3


def test_only_sketches_are_moved_to_the_photo_side():
    composer = InversionComposer(tiny_backbone(), QUICK)
    with torch.no_grad():
        moved = normalize(seen(SKETCH) + modality_shift(tiny_backbone()), dim=-1)
    encoded = composer.encode(SKETCH)
    torch.testing.assert_close(encoded.image_feature, moved[0])
    assert torch.equal(encoded.pseudo_tokens, invert(tiny_backbone(), moved, QUICK).tokens[0])
    still = InversionComposer(tiny_backbone(), replace(QUICK, moves_sketches=False))
    assert torch.equal(still.encode(SKETCH).image_feature, seen(SKETCH)[0])
    assert torch.equal(composer.encode(PHOTO).image_feature, seen(PHOTO)[0])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off_and_leaves_no_trace(mode):
    table = tiny_backbone().token_table()
    before = table.clone()
    plain = invert(tiny_backbone(), seen(PHOTO), QUICK)
    with mode():
        features = tiny_backbone().encode_image(reference_pixels(tiny_backbone(), PHOTO)).features
        inversion = invert(tiny_backbone(), features, QUICK)
        query = InversionComposer(tiny_backbone(), QUICK).encode(PHOTO)
    assert torch.equal(inversion.tokens, plain.tokens)
    assert torch.equal(query.pseudo_tokens, plain.tokens[0])
    for tensor in (inversion.tokens, inversion.cosines, query.pseudo_tokens, query.image_feature):
        assert not tensor.requires_grad
        assert tensor.grad_fn is None
    assert torch.equal(table, before)
    assert table.grad is None
    assert not any(parameter.requires_grad for parameter in tiny_backbone().model.parameters())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_tokens": 0}, "`num_tokens` must be at least 1, got 0"),
        ({"num_restarts": 0}, "`num_restarts` must be at least 1, got 0"),
        ({"max_steps": 0}, "`max_steps` must be at least 1"),
        ({"patience": 0}, "`patience` must be at least 1"),
        ({"num_tokens": 33}, "`num_tokens` must be at most 32, got 33"),
        ({"tolerance": -0.1}, r"`tolerance` must be at least 0, got -0\.1"),
        ({"tolerance": float("nan")}, "`tolerance` must be at least 0, got nan"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0"),
        ({"norm_weight": -1.0}, "`norm_weight` must be at least 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        ({"ema_decay": 1.0}, "`ema_decay` must be at least 0 and below 1"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        InversionSettings(**setting)


def test_more_tokens_than_the_context_has_room_for_are_refused():
    # 24 places: start, end, and the 15 pieces of the longest template leave 7.
    many = replace(QUICK, num_tokens=8)
    with pytest.raises(ValueError, match=r"`num_tokens` must be at most 7, .* got 8"):
        InversionComposer(tiny_backbone(), many)
    with pytest.raises(ValueError, match=r"`num_tokens` must be at most 7, .* got 8"):
        invert(tiny_backbone(), targets(1), many)
    full = replace(QUICK, num_tokens=7, max_steps=1)
    assert invert(tiny_backbone(), targets(1), full).tokens.shape == (1, 7, TEXT_WIDTH)


def test_features_that_fit_no_backbone_are_refused():
    with pytest.raises(ValueError, match="joint space's 24 dimensions"):
        invert(tiny_backbone(), torch.ones(2, 3), QUICK)
    with pytest.raises(ValueError, match="one or more vectors"):
        invert(tiny_backbone(), torch.ones(0, JOINT_DIM), QUICK)
    with pytest.raises(ValueError, match="finite and not zero"):
        invert(tiny_backbone(), torch.zeros(1, JOINT_DIM), QUICK)
    with pytest.raises(ValueError, match="finite and not zero"):
        invert(tiny_backbone(), torch.full((1, JOINT_DIM), float("nan")), QUICK)


@pytest.fixture(scope="module")
def composer():
    return InversionComposer(tiny_backbone(), replace(QUICK, num_tokens=2))


@pytest.mark.parametrize("reference", [SKETCH, PHOTO], ids=["sketch", "photo"])
def test_the_composed_query_is_complete(composer, reference, tmp_path):
    assert isinstance(composer, Composer)
    query = composer.compose(composer.encode(reference), "red oak")
    assert (query.composer, query.text, query.balance) == ("inversion", "red oak", 0.5)
    for feature in (query.feature, query.reference_feature, query.words_feature):
        assert feature.norm().item() == pytest.approx(1, abs=1e-5)
        assert not feature.requires_grad
    assert query.patch_features.shape == (16, JOINT_DIM)
    assert query.pseudo_tokens.shape == (2, TEXT_WIDTH)
    prompt = query.require_tokens()
    assert torch.equal(prompt[list(query.pseudo_positions)], query.pseudo_tokens)
    expected = build_prompt(tiny_backbone(), "a photo of", query.pseudo_tokens, "red oak")
    assert torch.equal(prompt, expected.token_embeddings)
    query.save(tmp_path / "q.safetensors")
    assert ComposedQuery.load(tmp_path / "q.safetensors").digest == query.digest


def test_the_ends_of_the_balance_are_the_one_sided_queries(composer):
    encoded = composer.encode(SKETCH)
    query = composer.compose(encoded, "red oak")
    words = tiny_backbone().encode_text(["a photo of red oak"])[0]
    plain = build_prompt(tiny_backbone(), "a photo of", encoded.pseudo_tokens, "")
    reference = encode_prompts(tiny_backbone(), [plain])[0]
    close = {"atol": 1e-5, "rtol": 0}
    sketch_only = composer.compose(encoded, "  ")
    words_only = composer.compose(EncodedReference(), "red oak")
    torch.testing.assert_close(rebalance(query, 0.0).feature, sketch_only.feature, **close)
    torch.testing.assert_close(rebalance(query, 1.0).feature, words_only.feature, **close)
    torch.testing.assert_close(sketch_only.feature, reference, **close)
    torch.testing.assert_close(words_only.feature, words, **close)
    direct = composer.compose(encoded, "red oak", balance=0.3)
    torch.testing.assert_close(rebalance(query, 0.3).feature, direct.feature)


def test_a_missing_side_is_left_out_and_an_empty_query_refused(composer):
    sketch_only = composer.compose(composer.encode(SKETCH), "")
    assert sketch_only.words_feature is None
    words_only = composer.compose(composer.encode(Query(text="red")), "red")
    assert words_only.reference_feature is None
    assert len(words_only.pseudo_tokens) == 0
    with pytest.raises(ValueError, match="The query is empty"):
        composer.compose(EncodedReference(), " ")
    with pytest.raises(ValueError, match="`balance` must lie between 0 and 1"):
        composer.compose(composer.encode(SKETCH), "red", balance=2.0)


def test_the_same_query_gives_the_same_digest(composer):
    first = composer.compose(composer.encode(SKETCH), "red oak")
    again = composer.compose(composer.encode(SKETCH), "red oak")
    assert first.digest == again.digest
