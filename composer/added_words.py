"""Words that a user adds to a CLIP's vocabulary: pseudo-word tokens with a name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

from composer.errors import InputError

MAX_NAME_LENGTH: Final = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MODELS: Final[Mapping[int, str]] = {
    768: "CLIP ViT-L/14, as in Stable Diffusion 1.x",
    1024: "OpenCLIP ViT-H/14, as in Stable Diffusion 2.x",
    1280: "OpenCLIP ViT-bigG/14, as in SDXL's second encoder",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AddedWord:
    """Token embeddings that a text names in angle brackets: `<name>`.

    Attributes:
        name: Without the brackets; upper and lower case are one.
        vectors: Token embeddings for the text encoder, the first one of a pair.
        second_vectors: The same for the second text encoder of a pair; None where they follow from
            the first's.
        opens_prompt: Whether the vectors begin with a prompt such as "a photo of", so that none is
            put before them.
        kit: Kit that the vectors were made with; empty where that is not known.
        text_hash: Text tower whose token space they live in; empty where that is not known.
        sha256: Hash of the file that they were read from; empty without one.
    """

    name: str
    vectors: Float[Tensor, "n w"]
    second_vectors: Float[Tensor, "n u"] | None = None
    opens_prompt: bool = False
    kit: str = ""
    text_hash: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            InputError: A text cannot hold the name.
        """
        check_name(self.name)

    @property
    def mark(self) -> str:
        """The word as a text has it."""
        return f"<{self.name}>"

    @property
    def space(self) -> str:
        """The token space, for messages."""
        if self.kit:
            return f"the kit {self.kit!r} (text tower {self.text_hash or 'unknown'})"
        return f"a text encoder of width {self.vectors.shape[1]}{model_of(self.vectors.shape[1])}"


def check_name(name: str) -> None:
    """Check that a text can hold a name between angle brackets.

    Raises:
        InputError: It cannot.
    """
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise InputError(
            f"The name of a token has 1 to {MAX_NAME_LENGTH} Latin letters, digits, “-”, “_” and "
            f"“.”, a letter or digit first, got {name[:80]!r}."
        )


def model_of(width: int) -> str:
    """Return the well-known model with token embeddings of a width, in brackets; or nothing."""
    return f" ({_MODELS[width]})" if width in _MODELS else ""


def check_space(word: AddedWord, *, kit: str, text_hash: str, width: int) -> None:
    """Check that a word lives in the token space of a kit.

    Args:
        word: The word.
        kit: Name of the kit.
        text_hash: Its text tower.
        width: Width of its token embeddings.

    Raises:
        InputError: It lives in another; the message names both.
    """
    is_foreign = bool(word.text_hash) and word.text_hash != text_hash
    if is_foreign or word.vectors.shape[1] != width:
        raise InputError(
            f"The token {word.mark} is for {word.space}; the kit {kit!r} reads tokens of width "
            f"{width}{model_of(width)} with text tower {text_hash}. Choose the kit that the token "
            "was made for, or a token for this kit."
        )
