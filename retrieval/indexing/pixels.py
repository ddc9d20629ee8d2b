"""Comparison of pictures by their pixels, which confirms what features suggest.

A small encoder sees little difference between two printed pages, or between two pictures of a
night: their features are as close as those of a picture and its copy, their pixels are not. The
filled forms of one template differ in details alone.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from composer.images import ImageError, ImageLimits, is_large, open_picture
from retrieval.files import leaves_folder, picture_file, read_regular
from retrieval.indexing.details import KEPT_PX, Kept, differ_somewhere, kept_levels

# Correlations of grey levels at 64 x 64, of a picture and a copy of it: saved as JPEG of quality 40
# at least 0.985, of quality 15 at least 0.961; at half, twice or a third of its size 0.983; cropped
# by 2 % 0.971. Of different pages of text at most 0.915, of catalogue pictures at most 0.819, of
# pictures of a night at most 0.08.
LEAST_CORRELATION = 0.94
SIDE_PX = 64
COARSE_PX = 16
LEAST_COARSE = 0.8  # rejects most pairs at a hundredth of the cost
LEAST_CONTRAST = 0.75  # levels; below, there is nothing to correlate
MAX_TONE = 14.0  # levels between the means of each of the three channels, less what all share
MAX_FLAT_TONE = 6.0
MAX_KEPT = 2_000  # pictures, of 120 KiB each
MAX_ALIKE = 24
PAIRS_AT_ONCE = 512
NUM_THREADS = 4
# Per cent cut off on each side.
_MARGINS = (
    *((0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2)),
    *((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0), (0, 0, 0, 2)),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Print:
    """A picture reduced to what is compared.

    Attributes:
        crops: Grey levels of the picture and of crops of it, without their mean, of length one.
        coarse: The picture at a quarter of that size.
        details: What is compared place by place.
        tone: Means of red, green and blue.
        is_flat: Whether it has no contrast.
    """

    crops: Float[np.ndarray, "v f"]
    coarse: Float[np.ndarray, " c"]
    details: Kept
    tone: Float[np.ndarray, "3"]
    is_flat: bool


class PixelComparison:
    """Comparison of the files of items, each of which is decoded when it is first compared.

    A picture that is alike `MAX_ALIKE` others and a copy of none is one of many filled forms, and
    is compared with no more of them: comparing details takes milliseconds a pair.
    """

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        """Take the folder of a gallery and the path of each item, which is not trusted."""
        self._root, self._paths = root, paths
        self._prints: OrderedDict[int, _Print | None] = OrderedDict()
        self._num_alike: Counter[int] = Counter()

    def confirm(
        self, first: Int[np.ndarray, " p"], second: Int[np.ndarray, " p"]
    ) -> Bool[np.ndarray, " p"]:
        """Tell for each pair of items whether they are copies; unreadable files are not."""
        same = np.zeros(len(first), bool)
        for start in range(0, len(first), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            pairs = list(zip(first[part].tolist(), second[part].tolist(), strict=True))
            self._read({number for pair in pairs for number in pair})
            same[part] = [self._are_copies(one, other) for one, other in pairs]
            while len(self._prints) > MAX_KEPT:
                self._prints.popitem(last=False)
        return same

    def _read(self, numbers: set[int]) -> None:
        missing = sorted(number for number in numbers if number not in self._prints)
        for number in numbers.difference(missing):
            self._prints.move_to_end(number)
        files = {number: picture_file(self._root, self._paths[number]) for number in missing}
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            large = dict(zip(missing, pool.map(_is_large, files.values()), strict=True))
            small = [number for number in missing if not large[number]]
            prints = pool.map(_print_of, [files[number] for number in small])
            found = dict(zip(small, prints, strict=True))
        # Large ones in one thread: a single one is in memory at a time, in the memory of the last.
        found |= {number: _print_of(files[number]) for number in missing if large[number]}
        self._prints.update((number, found[number]) for number in missing)

    def _are_copies(self, one: int, other: int) -> bool:
        first, second = self._prints[one], self._prints[other]
        if first is None or second is None or not are_alike(first, second):
            return False
        self._num_alike[one] += 1
        return self._num_alike[one] <= MAX_ALIKE and are_copies(first, second)


def are_copies(first: _Print, second: _Print) -> bool:
    """Tell whether two pictures differ by no more than saving, scaling and a slight crop does."""
    return are_alike(first, second) and (first.is_flat or not _differ_in_details(first, second))


def are_alike(first: _Print, second: _Print) -> bool:
    """Tell whether two pictures are alike as a whole; details may differ."""
    shift = first.tone - second.tone
    if first.is_flat or second.is_flat:
        return first.is_flat and second.is_flat and float(np.abs(shift).max()) <= MAX_FLAT_TONE
    if float(first.coarse @ second.coarse) < LEAST_COARSE:
        return False
    if float(np.ptp(shift)) > MAX_TONE:  # brighter or darker alike is a copy
        return False
    return float(_correlations(first, second).max()) >= LEAST_CORRELATION


def _differ_in_details(first: _Print, second: _Print) -> bool:
    """Tell whether pictures that are alike differ somewhere, by the two best ways to crop one."""
    correlations = _correlations(first, second)
    for position in correlations.ravel().argsort()[:-3:-1].tolist():
        which, crop = divmod(position, len(_MARGINS))
        pair = (second, first) if which else (first, second)
        if not differ_somewhere(pair[0].details, pair[1].details, _MARGINS[crop]):
            return False
    return True


def _correlations(first: _Print, second: _Print) -> Float[np.ndarray, "2 v"]:
    """Return those of each crop of the first with the second, and the other way round."""
    crops, others = first.crops.astype(np.float32), second.crops.astype(np.float32)
    return np.stack([crops @ others[0], others @ crops[0]])


def print_of(image: Image.Image) -> _Print:
    """Reduce an RGB picture to what is compared."""
    details = kept_levels(image.convert("L"))
    if max(image.size) > 8 * SIDE_PX:
        shrink = 8 * SIDE_PX / max(image.size)
        size = (max(1, round(shrink * image.width)), max(1, round(shrink * image.height)))
        image = image.resize(size, Image.Resampling.BOX)
    width, height = image.size
    grey = image.convert("L").convert("F")  # in floats, a dark picture keeps its shades
    crops: list[Float[np.ndarray, " f"]] = []
    for left, top, right, bottom in _MARGINS:
        box = (
            round(left * width / 100), round(top * height / 100),
            width - round(right * width / 100), height - round(bottom * height / 100),
        )  # fmt: skip
        crops.append(_levels(grey, box, SIDE_PX))
    whole = np.asarray(image, np.float32)
    return _Print(
        crops=np.stack([_unit(crop) for crop in crops]).astype(np.float16),
        coarse=_unit(_levels(grey, (0, 0, width, height), COARSE_PX)),
        details=details,
        tone=whole.mean(axis=(0, 1)),
        is_flat=bool(crops[0].std() < LEAST_CONTRAST),
    )


def _print_of(file: Path) -> _Print | None:
    try:
        return print_of(open_picture(_read_inside(file), least_px=KEPT_PX).image)
    except (ImageError, OSError):
        return None


def _is_large(file: Path) -> bool:
    try:
        return is_large(_read_inside(file), least_px=KEPT_PX)
    except OSError:
        return False


def _read_inside(file: Path) -> bytes:
    """Read a file that `picture_file` named.

    Raises:
        OSError: It leaves the gallery's folder, is no regular file, or cannot be read.
    """
    if leaves_folder(file):
        raise OSError(f"{file} lies outside the gallery.")
    return read_regular(file, ImageLimits().max_bytes)


def _levels(
    grey: Image.Image, box: tuple[int, int, int, int], side: int
) -> Float[np.ndarray, " f"]:
    small = grey.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(small, np.float32).ravel()


def _unit(levels: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    centred = levels - levels.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-6)
