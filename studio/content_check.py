"""A check of what a served page draws, which its operator switches on."""

import importlib
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from composer.backbone import Backbone
from studio.errors import UsageError

ContentCheck = Callable[[Image.Image], bool]
"""Whether an RGB picture may be shown."""

REFUSAL = (
    "What was drawn is not shown here: it did not pass the page's content check. Change the "
    "words, the drawing or the seed."
)
NEUTRAL = (
    "a photo", "a drawing", "a painting", "an object", "furniture", "a person", "an animal",
    "a landscape", "a building", "food", "a vehicle", "a pattern",
)  # fmt: skip
_COMMENT = "#"
_MAX_BYTES = 100_000


def load_check(name: str, backbone: Callable[[], Backbone]) -> ContentCheck:
    """Return the check that an operator names.

    Args:
        name: A text file with a description in each line, or `MODULE:FUNCTION`, a function of a
            `PIL.Image.Image` (RGB) that returns whether it may be shown.
        backbone: Returns the CLIP that reads the descriptions.

    Raises:
        UsageError: There is no such file or function, or the file has no description.
    """
    if Path(name).is_file():
        return DescriptionCheck(_descriptions(Path(name)), backbone())
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise UsageError(
            f"--content-check must be a text file or MODULE:FUNCTION; there is no file {name!r}."
        )
    try:
        check = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--content-check {name!r} cannot be loaded: {error}") from error
    if not callable(check):
        raise UsageError(f"--content-check {name!r} is no function.")
    return lambda image: check(image) is True


class DescriptionCheck:
    """Refuses a picture that one of some descriptions fits better than any neutral one.

    It knows what the kit's CLIP knows, and is no more than a first sieve.
    """

    def __init__(self, descriptions: tuple[str, ...], backbone: Backbone) -> None:
        """Encode the descriptions."""
        self._backbone, self._num_refused = backbone, len(descriptions)
        with torch.inference_mode():
            self._texts = backbone.encode_text([*descriptions, *NEUTRAL])

    @torch.inference_mode()
    def __call__(self, image: Image.Image) -> bool:
        """Return whether a picture may be shown."""
        seen = self._backbone.encode_image(self._backbone.preprocess([image]))
        best = int((self._texts @ seen.features[0]).argmax())
        return best >= self._num_refused


def _descriptions(file: Path) -> tuple[str, ...]:
    """Read the lines of a file that are no comments.

    Raises:
        UsageError: It has none, or is no text of a reasonable size.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:  # a character may be cut
            raise UsageError(f"{file} is larger than {_MAX_BYTES // 1000} KB.")
        lines = data.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as text: {error}") from error
    stripped = (line.strip() for line in lines)
    found = tuple(line for line in stripped if line and not line.startswith(_COMMENT))
    if not found:
        raise UsageError(f"{file} has no description: write one in each line.")
    return found
