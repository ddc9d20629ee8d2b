"""Sizes of images: the proportions asked for at the kit's size, and back."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from generation.pipeline import ImagePipeline
from generation.request import DrawingSettings, RequestError, TransferRequest
from generation.sample import NATIVE_SHARE

MAX_ASPECT = 2.0  # of the longer side over the shorter; beyond it a picture is cut
_GRAINS = 32  # of the kit's side: sizes are multiples of one
_STRETCH = 1.06  # proportions this close are not cut but stretched


def settings_for(
    pipeline: ImagePipeline, settings: DrawingSettings, source: Image.Image
) -> DrawingSettings:
    """Return settings whose size has a picture's proportions and about as many pixels as the kit's.

    Settings that name a size stay as they are.
    """
    if settings.height is not None:
        return settings
    width, height = _size_like(pipeline, source.width / source.height)
    return replace(settings, height=height, width=width)


def settings_of_size(
    pipeline: ImagePipeline, settings: DrawingSettings, size: tuple[int, int]
) -> DrawingSettings:
    """Return settings that draw images for a size: of that size where the kit can draw it.

    Otherwise they are of its proportions and about as many pixels as the kit's own.

    Args:
        pipeline: the kit's.
        settings: settings without a size.
        size: width and height, pixels.

    Raises:
        RequestError: one side is more than `MAX_ASPECT` times the other, or beyond the cap.
    """
    width, height = size
    aspect = width / height
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        raise RequestError(
            f"A side may be at most {MAX_ASPECT:g} times the other, got {width} x {height}."
        )
    multiple, most = pipeline.size_multiple_px, NATIVE_SHARE * pipeline.native_size_px**2
    if width % multiple or height % multiple or not most / 4 <= width * height <= most:
        width, height = _size_like(pipeline, aspect)
    return replace(settings, height=height, width=width)


def _size_like(pipeline: ImagePipeline, aspect: float) -> tuple[int, int]:
    """Return width and height of about the kit's own number of pixels."""
    side = pipeline.native_size_px
    grain = max(pipeline.size_multiple_px, side // _GRAINS)
    aspect = min(max(aspect, 1 / MAX_ASPECT), MAX_ASPECT)
    width, height = (
        max(grain, grain * round(side * share / grain)) for share in (aspect**0.5, aspect**-0.5)
    )
    return width, height


def fitted(pipeline: ImagePipeline, request: TransferRequest) -> TransferRequest:
    """Return a request with such settings; what a mask marks keeps the kit's own size."""
    if request.mask is not None:
        return request
    return replace(request, settings=settings_for(pipeline, request.settings, request.source))


def fit_source(source: Image.Image, height: int, width: int) -> Image.Image:
    """Resize an RGB image; what exceeds the output's proportions is cut off about its centre."""
    if _is_alike(source, height, width):
        return source.resize((width, height), Image.Resampling.LANCZOS)
    return ImageOps.fit(source, (width, height), Image.Resampling.LANCZOS)


def enlarge(drawn: Image.Image, source: Image.Image, *, detail: float) -> Image.Image:
    """Bring a drawn picture to the size of the one it was drawn from, with some of its detail.

    What is finer than the drawn picture's pixels, it cannot show: that part of the source's
    brightness is added (the upper band of a Laplacian pyramid; Burt and Adelson 1983).

    Args:
        drawn: RGB.
        source: RGB; what `fit_source` would cut off is cut off here, too.
        detail: Share of that part, in [0, 1].

    Returns:
        RGB, of the source's size, or of what is left of it.
    """
    whole = _cut(source, drawn.height, drawn.width)
    large = drawn.resize(whole.size, Image.Resampling.LANCZOS)
    scale = whole.width / drawn.width
    if scale <= 1 or detail <= 0:
        return large
    luma = np.asarray(whole.convert("L")).astype(np.float32)
    fine = luma - ndimage.gaussian_filter(luma, scale / 2, mode="nearest")
    y, cb, cr = large.convert("YCbCr").split()
    bright = np.asarray(y) + detail * fine
    y = Image.fromarray(np.clip(np.rint(bright), 0, 255).astype(np.uint8))
    return Image.merge("YCbCr", (y, cb, cr)).convert("RGB")


def _is_alike(source: Image.Image, height: int, width: int) -> bool:
    ratio = source.width * height / (source.height * width)
    return 1 / _STRETCH <= ratio <= _STRETCH


def _cut(source: Image.Image, height: int, width: int) -> Image.Image:
    """Cut off what exceeds an output's proportions, without resizing."""
    if _is_alike(source, height, width):
        return source
    scale = min(source.width / width, source.height / height)
    return ImageOps.fit(source, (max(1, round(width * scale)), max(1, round(height * scale))))
