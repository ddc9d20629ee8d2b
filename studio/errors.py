"""Error classes shown to users."""

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
