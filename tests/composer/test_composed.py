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
        found = slerp(a, b, t)
        assert found.norm().item() == pytest.approx(1, abs=1e-6)
        assert math.acos(min(1, (found @ a).item())) == pytest.approx(1.2 * t, abs=1e-3)
    torch.testing.assert_close(slerp(a, a, 0.5), a)
    assert torch.isfinite(slerp(a, -a, 0.4)).all()


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
        {"prompt_embeddings": torch.zeros(1000, 4)},
        {"feature": torch.tensor([1.0, math.nan, 0])},
    ],
)
def test_contradictory_files_are_refused(tmp_path, bad):
    make(**bad).save(tmp_path / "q.safetensors")
    with pytest.raises(WeightsError):
        ComposedQuery.load(tmp_path / "q.safetensors")


@pytest.mark.parametrize(
    "changed",
    [
        {"pseudo_tokens": torch.zeros(1, 5)},
        {"optional.words_feature": torch.ones(2)},
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
