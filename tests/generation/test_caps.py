"""The largest image, which follows the kit."""

import pytest

from generation.pipeline import ImagePipeline
from generation.request import DrawingSettings, RequestError
from generation.sample import output_size


@pytest.fixture
def native_px(monkeypatch):
    def set_native(native_px: int) -> None:
        monkeypatch.setattr(ImagePipeline, "native_size_px", native_px)

    return set_native


@pytest.mark.parametrize(
    ("native", "height", "width", "fits"),
    [
        (128, 768, 768, True),
        (128, 776, 768, False),
        (1024, 1024, 1536, True),
        (1024, 1032, 1536, False),
    ],
)
def test_an_image_has_at_most_one_and_a_half_times_the_native_pixels(
    pipeline, native_px, native, height, width, fits
):
    native_px(native)
    settings = DrawingSettings(height=height, width=width)
    if fits:
        assert output_size(pipeline, settings) == (height, width)
    else:
        with pytest.raises(RequestError, match="An image may have at most"):
            output_size(pipeline, settings)


def test_the_native_size_is_always_within_the_limit(pipeline, native_px):
    native_px(1024)
    assert output_size(pipeline, DrawingSettings()) == (1024, 1024)
