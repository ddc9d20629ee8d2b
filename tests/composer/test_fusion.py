from dataclasses import replace

import pytest
import torch

from composer.composed import ComposedQuery
from composer.fusion import Fusion, fusion_fields, fusion_of, fusion_tensors
from composer.weights import WeightsError, read_safetensors, write_safetensors
from tests.composer.test_composed import make

SIDE = torch.tensor([1.0, 2, 2])


def fusion(**changes):
    parts = Fusion(
        reference=SIDE, words=-SIDE, projection=torch.eye(3)[:2], gallery_share=0.5, floor=1.5,
        penalty=0.1, num_neighbours=4,
    )  # fmt: skip
    return replace(parts, **changes)


def test_a_query_with_two_sides_comes_back_from_its_file(tmp_path):
    query = make(fusion=fusion())
    query.save(tmp_path / "q.safetensors")
    again = ComposedQuery.load(tmp_path / "q.safetensors")
    assert again.digest == query.digest
    assert again.fusion is not None
    for name in ("reference", "words", "projection"):
        assert torch.equal(getattr(again.fusion, name), getattr(query.fusion, name))
    for name in ("gallery_share", "floor", "penalty", "num_neighbours"):
        assert getattr(again.fusion, name) == getattr(query.fusion, name)


@pytest.mark.parametrize(
    "changes",
    [{"penalty": 0.0}, {"floor": 1.0}, {"reference": SIDE + 1}, {"words": None},
     {"projection": None}, {"gallery_share": 0.0}, {"num_neighbours": 0}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_every_part_is_in_the_digest(changes):
    assert make(fusion=fusion(**changes)).digest != make(fusion=fusion()).digest
    assert make(fusion=None).digest != make(fusion=fusion(**changes)).digest


@pytest.mark.parametrize("missing", ["reference", "words", "projection"])
def test_what_is_missing_stays_missing(missing):
    parts = fusion(**{missing: None})
    again = fusion_of(fusion_tensors(parts), fusion_fields(parts))
    assert again is not None
    assert getattr(again, missing) is None
    assert fusion_of({}, fusion_fields(None)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": None, "words": None}, "needs a reference or words"),
        ({"words": torch.ones(4)}, r"one width, got \[3, 4\]"),
        ({"projection": torch.ones(2, 5)}, r"one width, got \[3, 5\]"),
        ({"gallery_share": 1.5}, "`gallery_share` must lie between 0 and 1"),
        ({"floor": 0.0}, "`floor` must be above 0"),
        ({"penalty": 0.25}, "`penalty` must be at least 0 and below"),
        ({"penalty": float("nan")}, "`penalty` must be at least 0 and below"),
        ({"num_neighbours": 101}, "between 0 and 100, got 101"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fusion(**changes)


@pytest.mark.parametrize(
    "field", ['{"floor": 1}', '{"gallery_share": 0, "floor": 1, "penalty": 9, "num_neighbours": 0}']
)
def test_a_foreign_fusion_in_a_file_is_refused(field, tmp_path):
    path = tmp_path / "q.safetensors"
    make(fusion=fusion()).save(path)
    read = read_safetensors(path)
    write_safetensors(path, read.tensors, {**read.metadata, "fusion": field})
    with pytest.raises(WeightsError, match="is not a composed query"):
        ComposedQuery.load(path)


def test_a_fusion_of_another_width_is_refused(tmp_path):
    make(fusion=Fusion(reference=torch.ones(5), words=None)).save(tmp_path / "q.safetensors")
    with pytest.raises(WeightsError, match="is not a composed query"):
        ComposedQuery.load(tmp_path / "q.safetensors")
