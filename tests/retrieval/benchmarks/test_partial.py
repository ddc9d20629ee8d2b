"""The first strokes of a sketch."""

import pytest

from composer.sketch import Sketch
from retrieval.benchmarks.partial import first_strokes
from tests.pictures import noise

STROKES = [[[0, 0], [1, number / 10]] for number in range(5)]


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.2, 1), (0.21, 2), (0.5, 3), (1.0, 5)])
def test_the_first_strokes_are_kept_and_never_none(share, count):
    sketch = Sketch.from_strokes(STROKES)
    part = first_strokes(sketch, share)
    assert part.strokes is not None
    assert sketch.strokes is not None
    assert [s.tolist() for s in part.strokes] == [s.tolist() for s in sketch.strokes[:count]]


def test_what_has_no_part_is_reported():
    with pytest.raises(ValueError, match="Only a sketch with strokes"):
        first_strokes(Sketch.from_image(noise((40, 40), 80)), 0.5)
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="`share` must be above 0 and at most 1"):
            first_strokes(Sketch.from_strokes(STROKES), share)
