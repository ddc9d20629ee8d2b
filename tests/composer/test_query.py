import pytest
from PIL import Image

from composer.query import Query
from composer.sketch import Sketch

SKETCH = Sketch.from_strokes([[[0, 0], [1, 1]]])
PHOTO = Image.new("RGB", (4, 4))


def test_one_side_is_enough():
    for query in (Query(sketch=SKETCH), Query(image=PHOTO), Query(text="red")):
        assert isinstance(query, Query)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "The query is empty"),
        ({"text": "  \n"}, "The query is empty"),
        ({"sketch": SKETCH, "image": PHOTO}, "not both"),
        ({"text": "x" * 1001}, "at most 1000 characters, got 1001"),
        ({"image": Image.new("L", (2, 2))}, "must be RGB, got L"),
    ],
)
def test_unclear_queries_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Query(**parts)
