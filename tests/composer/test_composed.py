import math
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from composer.composed import ComposedQuery, MissingTokensError, rebalance, slerp
from composer.weights import WeightsError, read_safetensors, write_safetensors


def unit(*values):
    return torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float32), dim=-1)


def make(**changes):
    query = ComposedQuery(
        pseudo_tokens=torch.randn(1, 4), prompt_embeddings=torch.randn(9, 4), end_position=6,
        pseudo_positions=(4,), feature=unit(0, 1, 0), both_feature=unit(0, 1, 0),
        reference_feature=unit(1, 0, 0), words_feature=unit(0, 0, 1),
        patch_features=torch.randn(16, 3), balance=0.5, composer="duet", text="blue — bleu",
        gallery_hash="a" * 16, text_hash="b" * 16,
    )  # fmt: skip
    return replace(query, **changes)


def test_balance_goes_from_reference_over_both_to_words():
    query = make()
    assert torch.equal(rebalance(query, 0.0).feature, query.reference_feature)
    assert torch.equal(rebalance(query, 0.5).feature, query.both_feature)
    assert torch.equal(rebalance(query, 1.0).feature, query.words_feature)
    half = math.sqrt(0.5)
    torch.testing.assert_close(rebalance(query, 0.25).feature, torch.tensor([half, half, 0]))
    torch.testing.assert_close(rebalance(query, 0.75).feature, torch.tensor([0, half, half]))


def test_rebalancing_twice_starts_from_the_composed_feature():
    query = make()
    there_and_back = rebalance(rebalance(query, 0.9), 0.5)
    assert torch.equal(there_and_back.feature, query.feature)
    assert there_and_back.digest == query.digest
    assert rebalance(query, 0.9).digest != query.digest


@pytest.mark.parametrize("side", ["reference_feature", "words_feature"])
def test_a_single_side_ignores_the_balance(side):
    query = make(**{side: None})
    assert torch.equal(rebalance(query, 0.9).feature, query.both_feature)


@pytest.mark.parametrize("balance", [-0.1, 1.1, math.nan, math.inf])
def test_balances_outside_are_refused(balance):
    with pytest.raises(ValueError, match="`balance` must lie between 0 and 1"):
        rebalance(make(), balance)


def test_slerp_stays_on_the_sphere_and_divides_the_angle():
    a, b = unit(1, 0), unit(math.cos(1.2), math.sin(1.2))
    for t in (0.0, 0.3, 1.0):
        mixture = slerp(a, b, t)
        assert mixture.norm().item() == pytest.approx(1, abs=1e-6)
        assert math.acos(min(1, (mixture @ a).item())) == pytest.approx(1.2 * t, abs=1e-3)
    torch.testing.assert_close(slerp(a, a, 0.5), a)
    assert torch.isfinite(slerp(a, -a, 0.4)).all()


def test_slerp_of_opposite_vectors_is_the_straight_mix_and_rounding_breaks_nothing():
    a = unit(1, 2, 2)
    torch.testing.assert_close(slerp(a, -a, 0.4), a)
    torch.testing.assert_close(slerp(a, -a, 0.6), -a)
    # Cosines of float32 vectors with themselves lie on both sides of 1.
    many = torch.nn.functional.normalize(
        torch.randn(200, 7, generator=torch.manual_seed(0)), dim=-1
    )
    cosines = (many * many).sum(-1)
    assert cosines.max() > 1 > cosines.min()
    torch.testing.assert_close(slerp(many, many, 0.3), many)


def test_slerp_goes_row_by_row():
    a, b = torch.stack([unit(1, 0), unit(0, 1)]), torch.stack([unit(0, 1), unit(0, -1)])
    half = math.sqrt(0.5)
    torch.testing.assert_close(slerp(a, b, 0.5)[0], torch.tensor([half, half]))
    third = slerp(torch.stack([unit(1, 0)] * 2), torch.stack([unit(0, 1), unit(1, 1)]), 1 / 3)
    angles = torch.atan2(third[:, 1], third[:, 0])
    torch.testing.assert_close(angles, torch.tensor([math.pi / 6, math.pi / 12]))


@pytest.mark.parametrize(
    "changes",
    [
        {"pseudo_tokens": torch.ones(1, 4)},
        {"prompt_embeddings": torch.ones(9, 4)},
        {"end_position": 7},
        {"pseudo_positions": (3,)},
        {"feature": unit(1, 1, 0)},
        {"both_feature": unit(1, 1, 0)},
        {"reference_feature": None},
        {"words_feature": unit(0, 1, 1)},
        {"patch_features": None},
        {"balance": 0.25},
        {"composer": "slerp"},
        {"text": "blue"},
        {"gallery_hash": "c" * 16},
        {"text_hash": "c" * 16},
        {"missing_tokens": "none"},
    ],
)
def test_the_digest_names_every_part_of_the_value(changes):
    query = make()
    copy = replace(query, prompt_embeddings=query.prompt_embeddings.T.contiguous().T)
    assert copy.digest == query.digest  # however it lies in memory
    assert len(query.digest) == 16
    assert replace(query, **changes).digest != query.digest


def test_the_digest_is_of_the_numbers_whatever_holds_them():
    tensors = {field.name: getattr(make(), field.name) for field in fields(ComposedQuery)}
    halves = {k: t.bfloat16() for k, t in tensors.items() if isinstance(t, torch.Tensor)}
    query = make(**halves)
    assert query.digest == make(**{name: half.float() for name, half in halves.items()}).digest
    assert query.digest != make(**halves | {"feature": -halves["feature"]}).digest


def test_the_digest_tells_equal_numbers_of_other_shapes_apart():
    narrow = make(pseudo_tokens=torch.ones(1, 4), prompt_embeddings=torch.ones(9, 4))
    wide = replace(narrow, pseudo_tokens=torch.ones(2, 2), prompt_embeddings=torch.ones(18, 2))
    assert wide.digest != narrow.digest


@pytest.mark.parametrize("changes", [{}, {"reference_feature": None, "patch_features": None}])
def test_it_survives_a_round_trip(tmp_path, changes):
    query = make(**changes)
    query.save(tmp_path / "q.safetensors")
    loaded = ComposedQuery.load(tmp_path / "q.safetensors")
    assert loaded.digest == query.digest
    for field in fields(ComposedQuery):
        before, after = getattr(query, field.name), getattr(loaded, field.name)
        same = torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after
        assert same, field.name


def test_missing_tokens_are_said_when_asked_for():
    query = make(
        missing_tokens="This composer makes no tokens.", prompt_embeddings=torch.zeros(0, 4),
        pseudo_tokens=torch.zeros(0, 4), pseudo_positions=(), end_position=0,
    )  # fmt: skip
    with pytest.raises(MissingTokensError, match="makes no tokens"):
        query.require_tokens()
    assert torch.equal(make(prompt_embeddings=torch.ones(9, 4)).require_tokens(), torch.ones(9, 4))


@pytest.mark.parametrize(
    "bad",
    [
        {"end_position": 99},
        {"pseudo_positions": (7,)},
        {"pseudo_positions": (1, 2)},
        {"balance": 3.0},
        {"pseudo_tokens": torch.zeros(40, 4), "pseudo_positions": tuple(range(40))},
        {"prompt_embeddings": torch.zeros(2000, 4)},
        {"feature": torch.tensor([1.0, math.nan, 0])},
        {"balance": -0.01},
        {"pseudo_positions": (0,)},
        {"pseudo_positions": (6,)},
        {"pseudo_positions": ()},
        {"end_position": 9},
        {"end_position": 0, "pseudo_positions": (), "pseudo_tokens": torch.zeros(0, 4)},
        {"prompt_embeddings": torch.zeros(1025, 4)},
        {
            "pseudo_tokens": torch.zeros(33, 4),
            "pseudo_positions": tuple(range(1, 34)),
            "prompt_embeddings": torch.zeros(60, 4),
            "end_position": 50,
        },
        {"missing_tokens": "none", "pseudo_positions": (4,)},
    ],
)
def test_contradictory_files_are_refused(tmp_path, bad):
    make(**bad).save(tmp_path / "q.safetensors")
    with pytest.raises(WeightsError):
        ComposedQuery.load(tmp_path / "q.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        {"schema": "another/1"},
        {"end_position": "2.0"},
        {"end_position": "Infinity"},
        {"pseudo_positions": "4"},
        {"pseudo_positions": "[true"},
        {"balance": "NaN"},
        {"balance": "1" + "0" * 400},
        {"balance": "[]"},
    ],
)
def test_forged_metadata_are_refused(tmp_path, metadata):
    path = tmp_path / "q.safetensors"
    make().save(path)
    weights = read_safetensors(path)
    write_safetensors(path, weights.tensors, {**weights.metadata, **metadata})
    with pytest.raises(WeightsError, match="is not a composed query"):
        ComposedQuery.load(path)


@pytest.mark.parametrize(
    "widest",
    [
        {"balance": 0.0},
        {"balance": 1.0},
        {"end_position": 8, "pseudo_positions": (7,)},
        {"pseudo_positions": (1,)},
        {"prompt_embeddings": torch.zeros(512, 4), "end_position": 511},
        {
            "pseudo_tokens": torch.zeros(32, 4),
            "pseudo_positions": tuple(range(1, 33)),
            "prompt_embeddings": torch.zeros(34, 4),
            "end_position": 33,
        },
        {"end_position": 1, "pseudo_positions": (), "pseudo_tokens": torch.zeros(0, 4)},
        {"missing_tokens": "none", "pseudo_positions": ()},
    ],
)
def test_files_at_the_limits_are_taken(tmp_path, widest):
    query = make(**widest)
    query.save(tmp_path / "q.safetensors")
    assert ComposedQuery.load(tmp_path / "q.safetensors").digest == query.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"pseudo_tokens": torch.zeros(1, 5)},
        {"optional.words_feature": torch.ones(2)},
        {"optional.reference_feature": torch.ones(2)},
        {"optional.patch_features": torch.ones(16, 4)},
        {"optional.patch_features": torch.ones(3)},
        {"feature": torch.ones(5)},
    ],
)
def test_files_whose_shapes_disagree_are_refused(tmp_path, changed):
    path = tmp_path / "q.safetensors"
    make().save(path)
    whole = read_safetensors(path)
    write_safetensors(path, whole.tensors | changed, whole.metadata)
    with pytest.raises(WeightsError):
        ComposedQuery.load(path)


def test_other_files_are_refused(tmp_path):
    make().save(tmp_path / "q.safetensors")
    save_file(load_file(tmp_path / "q.safetensors"), tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="not a composed query"):
        ComposedQuery.load(tmp_path / "bare.safetensors")
