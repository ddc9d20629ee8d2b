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


_OF_PATHS = frozenset(
    getattr(errno, name)
    for name in ("ENAMETOOLONG", "ELOOP", "ENOTDIR", "EACCES", "EPERM", "EROFS", "ENOSPC")
)


def path_problem(error: OSError | RuntimeError) -> str:
    """Return a sentence on a path that cannot be used as it is, whichever option names it.

    Empty for other errors.
    """
    if isinstance(error, OSError):
        path = error.filename or "A file"
        return f"{path} cannot be used: {error.strerror}." if error.errno in _OF_PATHS else ""
    is_loop = str(error).startswith("Symlink loop")  # of pathlib, before Python 3.13
    return f"{error}; name what the links should lead to." if is_loop else ""
