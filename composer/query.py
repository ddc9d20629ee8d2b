"""Query of a user: a drawing or a photo, words, or both."""

from dataclasses import dataclass

from PIL import Image

from composer.errors import InputError
from composer.sketch import Sketch

MAX_TEXT_LENGTH = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A visual reference and words, at least one of them.

    Attributes:
        sketch: The reference as a drawing.
        image: The reference as a photo, mode "RGB".
        text: The words; empty for none.
    """

    sketch: Sketch | None = None
    image: Image.Image | None = None
    text: str = ""

    def __post_init__(self) -> None:
        """Check that the query is neither empty nor ambiguous.

        Raises:
            InputError: Nothing was given, both references were given, or the text is too long.
        """
        if self.sketch is not None and self.image is not None:
            raise InputError("A query has one reference: give a sketch or an image, not both.")
        if self.sketch is None and self.image is None and not self.text.strip():
            raise InputError("The query is empty; draw something or write a few words.")
        if len(self.text) > MAX_TEXT_LENGTH:
            raise InputError(
                f"The text of a query has at most {MAX_TEXT_LENGTH} characters, "
                f"got {len(self.text)}."
            )
        if self.image is not None and self.image.mode != "RGB":
            raise InputError(f"The image of a query must be RGB, got {self.image.mode}.")
