"""Intake of files: content hash, facts, and pixels for the encoder."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from composer.images import ImageError, ImageLimits, is_large, open_picture
from retrieval.files import content_id, printable, read_regular
from retrieval.filters.folders import composed
from retrieval.indexing.walk import Candidate, Skipped
from retrieval.store.schema import Item

MAX_CAPTION_BYTES = 16 << 10
LARGE_BYTES = 32 << 20
Facts = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decoded:
    """A decoded picture, ready to be embedded.

    Attributes:
        item: Its item.
        levels: Pixels of the encoder's size, before normalisation.
        problem: Why its caption was skipped; None if it was not.
    """

    item: Item
    levels: UInt8[np.ndarray, "h w 3"]
    problem: Skipped | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    """A file whose content is known; it was not decoded."""

    id: str
    candidate: Candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """Caption from the text file beside a picture.

    Attributes:
        text: One line; empty without a usable file.
        mtime_ns: When the file was last changed; 0 without one.
        problem: Why the file was skipped; None if it was not.
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
    """Thread-safe reader of files.

    Attributes:
        crop: Crops and resizes an RGB picture to the encoder's size.
        least_px: Lower bound on the shorter side of the input of `crop`, if the picture is larger.
        limits: Limits on a picture.
        known_ids: Ids of content that need not be decoded.
        facts_by_path: Facts on pictures by path.
    """

    crop: Callable[[Image.Image], UInt8[np.ndarray, "h w 3"]]
    least_px: int
    limits: ImageLimits
    known_ids: Collection[str]
    facts_by_path: Mapping[str, Facts]
    _large: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def read(self, candidate: Candidate) -> Decoded | Recognised | Skipped:
        """Read a file; a faulty one is returned as `Skipped`, not raised."""
        # One thread decodes all large pictures: a single one is in memory at a time, and reuses
        # the memory of the last, since every thread has a separate heap.
        if candidate.size_bytes > LARGE_BYTES:
            return self._large.submit(self._read, candidate, self._decode).result()
        return self._read(candidate, self._decode_in_turn)

    def _read(
        self, candidate: Candidate, decode: "Callable[[bytes], _Cropped]"
    ) -> Decoded | Recognised | Skipped:
        try:
            data = read_regular(candidate.file, self.limits.max_bytes)
        except (OSError, ValueError):
            return Skipped(path=printable(candidate.path), reason="It cannot be read.")
        id_ = content_id(data)
        if id_ in self.known_ids:
            return Recognised(id=id_, candidate=candidate)
        try:
            pixels = decode(data)
        except ImageError as error:
            reason = f"It {error.reason}"
            return Skipped(path=printable(candidate.path), reason=reason)
        item = Item(
            id=id_,
            path=candidate.path,
            size_bytes=candidate.size_bytes,
            mtime_ns=candidate.mtime_ns,
            ctime_ns=candidate.ctime_ns,
            width_px=pixels.width_px,
            height_px=pixels.height_px,
            taken=pixels.taken,
        )
        described = describe(item, candidate, self.facts_by_path)
        return Decoded(item=described.item, levels=pixels.levels, problem=described.problem)

    def _decode_in_turn(self, data: bytes) -> "_Cropped":
        if is_large(data, self.limits, least_px=self.least_px):
            return self._large.submit(self._decode, data).result()
        return self._decode(data)

    def _decode(self, data: bytes) -> "_Cropped":
        picture = open_picture(data, self.limits, least_px=self.least_px)
        return _Cropped(
            levels=self.crop(picture.image),
            width_px=picture.width_px,
            height_px=picture.height_px,
            taken=picture.taken,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedItem:
    """An item with its facts, and the reason if its caption was skipped."""

    item: Item
    problem: Skipped | None


def describe(item: Item, candidate: Candidate, facts_by_path: Mapping[str, Facts]) -> DescribedItem:
    """Return an item with the path, times and facts of a file.

    A caption among the facts has priority over one in a text file.
    """
    facts = facts_of(candidate, facts_by_path)
    read = Caption() if facts.get("caption") else read_caption(candidate)
    updated = replace(
        item,
        path=candidate.path,
        size_bytes=candidate.size_bytes,
        mtime_ns=candidate.mtime_ns,
        ctime_ns=candidate.ctime_ns,
        **{name: composed(value) for name, value in facts.items()},
    )
    if read.mtime_ns or (item.caption_mtime_ns and not facts.get("caption")):
        updated = replace(updated, caption=read.text)
    updated = replace(updated, caption_mtime_ns=read.mtime_ns)
    return DescribedItem(item=updated, problem=read.problem)


def facts_of(candidate: Candidate, facts_by_path: Mapping[str, Facts]) -> Facts:
    """Return the facts on a file; its path may be spelled with composed letters."""
    path = candidate.path
    return facts_by_path.get(path) or facts_by_path.get(composed(path), {})


def read_caption(candidate: Candidate) -> Caption:
    """Read the text file beside a picture: UTF-8, at most 16 KiB; white space is collapsed."""
    if candidate.caption_file is None:
        return Caption()

    def skipped(reason: str) -> Caption:
        problem = Skipped(path=printable(_beside(candidate)), reason=reason)
        return Caption(problem=problem)

    try:
        if candidate.caption_file.is_symlink():
            return skipped("The caption is a link; put a file in its place.")
        data = read_regular(candidate.caption_file, MAX_CAPTION_BYTES)
    except (OSError, ValueError):
        return skipped("The caption cannot be read.")
    if len(data) > MAX_CAPTION_BYTES:
        return skipped(f"The caption is longer than {MAX_CAPTION_BYTES >> 10} KiB; shorten it.")
    try:
        text = composed(" ".join(data.decode("utf-8-sig").replace("\0", " ").split()))
    except UnicodeDecodeError:
        return skipped("The caption is not UTF-8; save it as UTF-8.")
    return Caption(text=text, mtime_ns=candidate.caption_mtime_ns)


def _beside(candidate: Candidate) -> str:
    assert candidate.caption_file is not None
    return str(Path(candidate.path).with_name(candidate.caption_file.name).as_posix())
