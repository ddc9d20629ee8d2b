"""Error classes shown to users."""

import errno

from composer.clip_files import BackboneError
from composer.composed import MissingTokensError
from composer.data.tree import DatasetError
from composer.errors import InputError
from composer.images import ImageError
from composer.strategies.protocol import ComposerError
from composer.weights import WeightsError
from generation.errors import GENERATION_ERRORS
from retrieval.errors import CalibrationError, GalleryError
from retrieval.filters.tree import FilterError
from studio.kit_contents import KitError


class UsageError(ValueError):
    """Arguments that contradict each other, or a file of the wrong kind."""


USER_ERRORS: tuple[type[Exception], ...] = (
    UsageError,
    InputError,
    KitError,
    GalleryError,
    CalibrationError,
    FilterError,
    BackboneError,
    MissingTokensError,
    ImageError,
    ComposerError,
    DatasetError,
    WeightsError,
    *GENERATION_ERRORS,
)


def path_problem(error: OSError | RuntimeError) -> str:
    """Return a sentence on a path that no file can have, whichever option names it.

    Empty for other errors.
    """
    if isinstance(error, OSError):
        is_of_path = error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
        return f"{error.filename} cannot be used: {error.strerror}." if is_of_path else ""
    is_loop = str(error).startswith("Symlink loop")  # of pathlib, before Python 3.13
    return f"{error}; name what the links should lead to." if is_loop else ""
