"""Colour profiles (ICC): from the colours of a picture's profile to sRGB."""

from functools import lru_cache
from io import BytesIO
from typing import Any, Final

from PIL import Image, ImageChops, ImageCms

_ROUNDING: Final = 4  # of a decoder, between the channels of a grey picture
_SPACES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile, to Pillow's mode


def apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture in the colours of sRGB.

    Args:
        image: Of eight bits per channel; it may be changed in place.
        profile: Its ICC profile. A damaged profile is ignored, and so is one of other channels;
            that of a grey picture applies also where the format stores grey as colours.

    Returns:
        A picture of mode "RGB", or "RGBA" where there is transparency; the picture as it is without
        a usable profile.
    """
    mode = _mode_of(profile) if profile else None
    if profile is None or mode is None:
        return image
    alpha = None
    colours = image
    if image.mode == "LA":
        colours, alpha = image.getchannel("L"), image.getchannel("A")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        colours, alpha = image.convert("RGB"), image.getchannel("A")
    if mode == "RGB" and colours.mode in ("1", "L", "P"):
        colours = colours.convert("RGB")
    elif mode == "L" and colours.mode in ("1", "P", "RGB"):
        colours = _grey(colours.convert("RGB"))
    if colours.mode != mode:
        return image
    converted = _to_srgb(colours, profile, mode)
    if converted is None:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _grey(colours: Image.Image) -> Image.Image:
    """Return a picture of mode "RGB" as one of mode "L" if it has no other colours than greys."""
    red, green, blue = colours.split()
    for channel in (red, blue):
        counts = ImageChops.difference(channel, green).histogram()
        if any(counts[_ROUNDING + 1 :]):
            return colours
    return green


def _to_srgb(colours: Image.Image, profile: bytes, mode: str) -> Image.Image | None:
    try:
        transform = _transform(profile, mode)
        in_place = mode == "RGB"  # halves the memory
        converted = ImageCms.applyTransform(colours, transform, inPlace=in_place)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return colours if converted is None else converted


@lru_cache(maxsize=16)
def _mode_of(profile: bytes) -> str | None:
    """Return the mode of a profile's colours; None for a damaged one and for other spaces."""
    try:
        opened: Any = ImageCms.ImageCmsProfile(BytesIO(profile)).profile
        space = opened.xcolor_space
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return _SPACES.get(space.strip())


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
