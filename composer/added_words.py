"""Words that a user adds to a CLIP's vocabulary: pseudo-word tokens with a name."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from composer.errors import InputError

MAX_NAME_LENGTH: Final = 60
MAX_WORDS: Final = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MARK = re.compile(rf"(<{_NAME.pattern}>)")
_SHA256 = re.compile(r"[0-9a-f]{64}|")
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
    def key(self) -> str:
        """A digest of everything that changes what a text with the word means."""
        digest = hashlib.sha256(f"{self.mark.lower()}{self.opens_prompt}".encode())
        for rows in (self.vectors, self.second_vectors):
            digest.update(b"none" if rows is None else rows.float().cpu().numpy().tobytes())
        return digest.hexdigest()

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


def is_in_space(word: AddedWord, text_hash: str, width: int) -> bool:
    """Tell whether a word lives in a token space, as far as its file says."""
    return word.vectors.shape[1] == width and word.text_hash in ("", text_hash)


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
    if not is_in_space(word, text_hash, width):
        raise InputError(
            f"The token {word.mark} is for {word.space}; the kit {kit!r} reads tokens of width "
            f"{width}{model_of(width)} with text tower {text_hash}. Choose the kit that the token "
            "was made for, or a token for this kit."
        )


class AddedWords:
    """Words that were added to a vocabulary; their ids follow those of the vocabulary."""

    def __init__(self, words: Sequence[AddedWord], table: Float[Tensor, "v w"], room: int) -> None:
        """Number the vectors of the words.

        Args:
            words: The words, of the space of the table.
            table: Token embeddings of the vocabulary.
            room: Vectors that one word may have.

        Raises:
            InputError: There are too many, two have one name, or one has too many vectors.
        """
        if len(words) > MAX_WORDS:
            raise InputError(
                f"A text takes at most {MAX_WORDS} tokens from files, got {len(words)}."
            )
        self.words, self._first = tuple(words), len(table)
        self._ids: dict[str, list[int]] = {}
        self._by_mark = {word.mark.lower(): word for word in words}
        start = self._first
        for word in words:
            count = len(word.vectors)
            if count > room:
                raise InputError(
                    f"The token {word.mark} has {count} vectors, and a prompt of this kit has room "
                    f"for {room}. Choose a token of fewer vectors."
                )
            if word.mark.lower() in self._ids:
                raise InputError(
                    f"Two tokens are called {word.mark}; give one another name: FILE:NAME."
                )
            self._ids[word.mark.lower()] = list(range(start, start + count))
            start += count
        rows = [word.vectors for word in words]
        self.rows = torch.cat(rows).to(table) if rows else table[:0]

    def split(self, text: str) -> list["str | AddedWord"]:
        """Return the parts of a text: added words, and the text between them."""
        parts = [part for part in _MARK.split(text) if part.strip()]
        return [self._by_mark.get(part.lower(), part) for part in parts]

    def ids(self, word: AddedWord) -> list[int]:
        """Return the ids of a word's vectors."""
        return self._ids[word.mark.lower()]

    def name(self, first_id: int) -> str | None:
        """Return the mark of the word that begins with an id; None for an id of the vocabulary."""
        return next((m for m, ids in self._ids.items() if ids[0] == first_id), None)

    def embed(
        self,
        ids: Int[Tensor, "*n l"],
        table: Float[Tensor, "v w"],
    ) -> Float[Tensor, "*n l w"]:
        """Return the token embeddings of ids, of the vocabulary or of added words."""
        is_added = ids >= self._first
        rows = table[ids.masked_fill(is_added, 0)]
        rows[is_added] = self.rows[ids[is_added] - self._first]
        return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class WordFile:
    """The name of an added word, and the hash of the file that it was read from."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UsedWords:
    """Added words of one query, for who must know of them after it was composed.

    Attributes:
        files: The words.
        second_positions: Indices in the prompt of vectors that a second text encoder has its own
            for.
        second_vectors: These vectors; None where there are none.
    """

    files: tuple[WordFile, ...]
    second_positions: tuple[int, ...] = ()
    second_vectors: Float[Tensor, "k u"] | None = None

    def __post_init__(self) -> None:
        """Check that every position has its vector.

        Raises:
            ValueError: The parts contradict each other.
        """
        rows = self.second_vectors
        count = 0 if rows is None else len(rows)
        is_sound = rows is None or (rows.ndim == 2 and rows.is_floating_point())
        if count != len(self.second_positions) or not is_sound or len(self.files) > MAX_WORDS:
            raise ValueError("The added words of a query contradict each other.")

    def between(self, start: int, end: int) -> "UsedWords":
        """Return what a part of the prompt has, its positions counted from its start."""
        if self.second_vectors is None:
            return self
        kept = [i for i, at in enumerate(self.second_positions) if start <= at < end]
        return UsedWords(
            files=self.files,
            second_positions=tuple(self.second_positions[i] - start for i in kept),
            second_vectors=self.second_vectors[kept] if kept else None,
        )


def used_words(
    words: Sequence[AddedWord], marks: Sequence[str], prompt: Float[Tensor, "l w"]
) -> UsedWords | None:
    """Return which added words a query uses; None if it uses none.

    Args:
        words: All that were added.
        marks: Words of the query's text.
        prompt: Its token embeddings; vectors are found in it by their values.
    """
    used = [word for word in words if word.mark.lower() in marks]
    if not used:
        return None
    found: dict[int, Tensor] = {}
    for word in used:
        if word.second_vectors is not None:
            for row, second in zip(word.vectors.to(prompt), word.second_vectors, strict=True):
                for at in (prompt == row).all(dim=1).nonzero().flatten().tolist():
                    found[at] = second
    return UsedWords(
        files=tuple(WordFile(name=word.name, sha256=word.sha256) for word in used),
        second_positions=tuple(sorted(found)),
        second_vectors=torch.stack([found[at] for at in sorted(found)]) if found else None,
    )


def used_words_fields(used: UsedWords | None) -> dict[str, Any]:
    """Return everything of used words but their tensor, as values of JSON."""
    if used is None:
        return {}
    files = [{"name": one.name, "sha256": one.sha256} for one in used.files]
    return {"added_words": files, "second_positions": list(used.second_positions)}


def used_words_of(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> UsedWords | None:
    """Make used words of what `used_words_fields` returned, from an untrusted file, if need be.

    Raises:
        KeyError: A field is missing.
        ValueError: A value is damaged.
        TypeError: A field is of another type.
    """
    if "added_words" not in fields:
        return None
    files = tuple(_word_file(one["name"], one["sha256"]) for one in fields["added_words"])
    positions = fields["second_positions"]
    if not all(isinstance(at, int) and at >= 0 for at in positions):
        raise ValueError("A position must be a whole number.")
    return UsedWords(
        files=files,
        second_positions=tuple(positions),
        second_vectors=tensors.get("second_vectors"),
    )


def _word_file(name: str, sha256: str) -> WordFile:
    check_name(name)
    if not _SHA256.fullmatch(sha256):
        raise ValueError("The hash of an added word is damaged.")
    return WordFile(name=name, sha256=sha256)
