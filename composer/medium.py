"""The two media that an encoder may look at differently."""

from enum import StrEnum


class Medium(StrEnum):
    """How a picture was made, as far as an encoder cares."""

    PHOTO = "photo"
    DRAWING = "drawing"
