"""From a file to what an index keeps of it: content hash, facts, and levels for the encoder."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from composer.images import ImageError, ImageLimits, is_large, open_picture
from retrieval.files import content_id, printable, read_regular
from retrieval.indexing.walk import Candidate, Skipped
from retrieval.store.schema import Item

MAX_CAPTION_BYTES = 16 << 10
Facts = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decoded:
    """A picture that is to be embedded.

    Attributes:
        item: What is known of it.
        levels: As the encoder wants it, before levels become numbers.
        problem: Why its caption was left out, if it was.
    """

    item: Item
    levels: UInt8[np.ndarray, "h w 3"]
    problem: Skipped | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    """A file whose content the index has seen already; its pixels were not decoded."""

    id: str
    candidate: Candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """What the text file beside a picture says.

    Attributes:
        text: On one line; empty without a file, or where it cannot be used.
        mtime_ns: Of the file; 0 without one.
        problem: Why it cannot be used.
    """

    text: str = ""
    mtime_ns: int = 0
    problem: Skipped | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Cropped:
    levels: UInt8[np.ndarray, "h w 3"]
    width_px: int
    height_px: int
    taken: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Intake:
    """Reads files; may be called from many threads.

    Attributes:
        crop: Brings an RGB picture to the encoder's size.
        least_px: Of the shorter side that `crop` is given, where a picture has as many.
        limits: Caps on one picture.
        seen: Ids that need no decoding.
        known: What is known of pictures by their path.
    """

    crop: Callable[[Image.Image], UInt8[np.ndarray, "h w 3"]]
    least_px: int
    limits: ImageLimits
    seen: Collection[str]
    known: Mapping[str, Facts]
    _large: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def read(self, candidate: Candidate) -> Decoded | Recognised | Skipped:
        """Return what a file is, never raising for what is wrong with it."""
        try:
            data = read_regular(candidate.file, self.limits.max_bytes)
        except (OSError, ValueError):
            return Skipped(path=printable(candidate.path), reason="It cannot be read.")
        id_ = content_id(data)
        if id_ in self.seen:
            return Recognised(id=id_, candidate=candidate)
        try:
            # Large pictures are left to one thread, so that only one at a time is in memory, and
            # each takes the place of the last: every thread has a heap of its own.
            large = is_large(data, least_px=self.least_px)
            done = self._large.submit(self._decode, data).result() if large else self._decode(data)
        except ImageError as error:
            reason = f"It {error.reason}"
            return Skipped(path=printable(candidate.path), reason=reason)
        item = Item(
            id=id_,
            path=candidate.path,
            size_bytes=candidate.size_bytes,
            mtime_ns=candidate.mtime_ns,
            width_px=done.width_px,
            height_px=done.height_px,
            taken=done.taken,
        )
        told = describe(item, candidate, self.known)
        return Decoded(item=told.item, levels=done.levels, problem=told.problem)

    def _decode(self, data: bytes) -> "_Cropped":
        picture = open_picture(data, self.limits, least_px=self.least_px)
        return _Cropped(
            levels=self.crop(picture.image),
            width_px=picture.width_px,
            height_px=picture.height_px,
            taken=picture.taken,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """An item with its facts, and why its caption was left out, if it was."""

    item: Item
    problem: Skipped | None


def describe(item: Item, candidate: Candidate, known: Mapping[str, Facts]) -> Described:
    """Return an item at the place of a file, with what is known or told of it there.

    A caption that is known goes before one in a text file.
    """
    facts = known.get(candidate.path, {})
    read = Caption() if facts.get("caption") else read_caption(candidate)
    here = replace(
        item,
        path=candidate.path,
        size_bytes=candidate.size_bytes,
        mtime_ns=candidate.mtime_ns,
        **facts,
    )
    if read.mtime_ns or (item.caption_mtime_ns and not facts.get("caption")):
        here = replace(here, caption=read.text)
    here = replace(here, caption_mtime_ns=read.mtime_ns)
    return Described(item=here, problem=read.problem)


def read_caption(candidate: Candidate) -> Caption:
    """Read the text file beside a picture: UTF-8, at most 16 KiB, its white space made single."""
    if candidate.caption_file is None:
        return Caption()

    def left_out(reason: str) -> Caption:
        problem = Skipped(path=printable(_beside(candidate)), reason=reason)
        return Caption(problem=problem)

    try:
        if candidate.caption_file.is_symlink():
            return left_out("The caption is a link; put a file in its place.")
        data = read_regular(candidate.caption_file, MAX_CAPTION_BYTES)
    except (OSError, ValueError):
        return left_out("The caption cannot be read.")
    if len(data) > MAX_CAPTION_BYTES:
        return left_out(f"The caption is longer than {MAX_CAPTION_BYTES >> 10} KiB; shorten it.")
    try:
        text = " ".join(data.decode("utf-8-sig").replace("\0", " ").split())
    except UnicodeDecodeError:
        return left_out("The caption is not UTF-8; save it as UTF-8.")
    return Caption(text=text, mtime_ns=candidate.caption_mtime_ns)


def _beside(candidate: Candidate) -> str:
    assert candidate.caption_file is not None
    return str(Path(candidate.path).with_name(candidate.caption_file.name).as_posix())
