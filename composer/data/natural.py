"""Readers of the natural pictures, drawings, icons and emoji the mini CLIP is pretrained on.

Each reader takes the folder of the data archives (`README.md` there lists them), reads its archive
in place and leaves out what `heldout` names. Everything is decoded once into uint8 arrays.
"""

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from composer.data import archives, heldout
from composer.data.pictures import PictureTable, fit_square
from composer.data.wording import with_article

PHOTO = ("a photo of", "a picture of", "")
DRAWING = (
    "a freehand drawing of",
    "a rough sketch of",
    "a simple line drawing of",
    "a pen sketch of",
)
PACS_MEDIA = {
    "photo": PHOTO,
    "art_painting": ("a painting of", "a watercolour painting of"),
    "cartoon": ("a cartoon of", "a cartoon picture of"),
    "sketch": DRAWING,
}
ICON_STYLES = {
    "thin": ("a thin line icon of", "a simple line drawing of"),
    "bold": ("a bold line icon of", "a simple line drawing of"),
    "fill": ("a filled icon of", "a silhouette of"),
    "duotone": ("a duotone icon of",),
}
ICON_PX = 64
SMALL_PX = 96


def read_natural(folder: Path, *, size_px: int = 128) -> list[PictureTable]:
    """Read every archive of `folder` into tables, train parts only.

    Raises:
        FileNotFoundError: The folder holds none of the archives.
    """
    tables = [table for read in _READERS.values() if (table := _try(read, folder, size_px))]
    if not tables:
        raise FileNotFoundError(
            f"{folder} must hold at least one of {', '.join(_READERS)}. Pass the folder of the "
            "training archives."
        )
    return tables


def _try(
    read: Callable[[Path, int], PictureTable], folder: Path, size_px: int
) -> PictureTable | None:
    try:
        return read(folder, size_px)
    except FileNotFoundError:
        return None


def read_tiny_imagenet(folder: Path, size_px: int) -> PictureTable:
    """Read Tiny-ImageNet's classes at their own 64 px (`size_px` is a ceiling)."""
    images: list[np.ndarray] = []
    captions: list[tuple[str, ...]] = []
    groups: list[str] = []
    with zipfile.ZipFile(folder / archives.TINY_IMAGENET) as archive:
        words = json.loads(archive.read("tiny_imagenet/classes.json"))
        for name in sorted(archive.namelist()):
            wnid = PurePosixPath(name).parent.name
            if wnid not in words or heldout.tiny_imagenet_is_held_out(words[wnid]):
                continue
            images.append(_decode(archive.read(name), min(64, size_px)))
            names = [word.strip() for word in words[wnid].split(",")][:3]
            captions.append(_captions(PHOTO, names))
            groups.append(wnid)
    return _table("tiny_imagenet", images, captions, groups)


def read_sketchy(folder: Path, size_px: int) -> PictureTable:
    """Read Sketchy's photos and sketches of the classes that may be trained on."""
    images: list[np.ndarray] = []
    captions: list[tuple[str, ...]] = []
    for path, data in _members(folder / archives.SKETCHY):
        class_name = path.parent.name
        if heldout.sketchy_is_held_out(class_name):
            continue
        media = DRAWING if "sketch" in path.parts[1] else PHOTO
        noun = re.sub(r"\(.*", "", class_name).replace("_", " ").strip()
        images.append(_decode(data, size_px))
        captions.append(_captions(media, [noun]))
    return _table("sketchy", images, captions)


def read_chairv2(folder: Path, size_px: int) -> PictureTable:
    """Read ChairV2's photos and rasterise its vector sketches (box of 256, pen-up flags)."""
    images: list[np.ndarray] = []
    captions: list[tuple[str, ...]] = []
    for path, data in _members(folder / archives.CHAIRV2):
        stem = path.stem.rsplit("_", 1)[0] if path.suffix == ".json" else path.stem
        if heldout.chairv2_is_held_out(stem):
            continue
        is_sketch = path.suffix == ".json"
        if is_sketch:
            images.append(_draw(json.loads(data)["points_xy_penup"], size_px))
        else:
            images.append(_decode(data, size_px))
        captions.append(_captions(DRAWING if is_sketch else PHOTO, ["chair"]))
    return _table("chairv2", images, captions)


def read_shoev2(folder: Path, size_px: int) -> PictureTable:
    """Read the ShoeV2 photos, which carry no labels beyond being shoes."""
    images = [_decode(data, size_px) for _, data in _members(folder / archives.SHOEV2)]
    return _table("shoev2", images, [_captions(PHOTO, ["shoe"])] * len(images))


def read_pacs(folder: Path, size_px: int) -> PictureTable:
    """Read PACS: four media of seven classes."""
    images: list[np.ndarray] = []
    captions: list[tuple[str, ...]] = []
    for path, data in _members(folder / archives.PACS):
        if heldout.pacs_is_held_out("/".join(path.parts[1:])):
            continue
        medium, class_name = path.parts[1], path.parts[2]
        images.append(_decode(data, size_px))
        captions.append(_captions(PACS_MEDIA[medium], [class_name]))
    return _table("pacs", images, captions)


def read_flickr(folder: Path, size_px: int) -> PictureTable:
    """Read the Flickr8k photos with their five human captions."""
    images: list[np.ndarray] = []
    captions: list[tuple[str, ...]] = []
    files = dict(_members(folder / archives.FLICKR))
    lines_of = json.loads(files[PurePosixPath("flickr/captions.json")])
    for path, data in files.items():
        if path.name in lines_of and not heldout.flickr_is_held_out(path.name):
            images.append(_decode(data, size_px))
            captions.append(tuple(line.rstrip(" .").lower() for line in lines_of[path.name]))
    return _table("flickr", images, captions)


def read_noto(folder: Path, size_px: int) -> PictureTable:
    """Read the emoji that have keywords."""
    images: list[np.ndarray] = []
    captions: list[tuple[str, ...]] = []
    files = dict(_members(folder / archives.NOTO))
    keywords: dict[str, list[str]] = json.loads(files[PurePosixPath("noto/keywords.json")])
    by_code = {_code_points(emoji): words for emoji, words in keywords.items()}
    for path, data in files.items():
        words = by_code.get(_file_code_points(path.stem))
        if path.suffix == ".webp" and words:
            names = [word.replace("_", " ") for word in words[:4] if word[0].isalpha()]
            if names:
                images.append(_decode(data, min(SMALL_PX, size_px)))
                captions.append(_captions(("an emoji of", ""), names))
    return _table("noto", images, captions)


def read_phosphor(folder: Path, size_px: int) -> PictureTable:
    """Rasterise four of the six styles of the Phosphor icons (needs the `train` extra)."""
    import resvg_py

    images: list[np.ndarray] = []
    captions: list[tuple[str, ...]] = []
    side = min(ICON_PX, size_px)
    for path, data in _members(folder / archives.PHOSPHOR):
        style = path.parent.name
        if path.suffix != ".svg" or style not in ICON_STYLES:
            continue
        noun = path.stem.removesuffix(f"-{style}").replace("-", " ")
        png = resvg_py.svg_to_bytes(
            svg_string=data.decode().replace("currentColor", "#000000"),
            width=side,
            height=side,
            background="white",
        )
        images.append(_decode(bytes(png), side))
        captions.append(_captions(ICON_STYLES[style], [noun]))
    return _table("phosphor", images, captions)


_READERS: dict[str, Callable[[Path, int], PictureTable]] = {
    archives.TINY_IMAGENET: read_tiny_imagenet,
    archives.SKETCHY: read_sketchy,
    archives.CHAIRV2: read_chairv2,
    archives.SHOEV2: read_shoev2,
    archives.PACS: read_pacs,
    archives.FLICKR: read_flickr,
    archives.NOTO: read_noto,
    archives.PHOSPHOR: read_phosphor,
}


def _members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the regular files of a tar in name order."""
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda item: item.name):
            handle = archive.extractfile(member)
            if handle is not None:
                yield PurePosixPath(member.name), handle.read()


def _decode(data: bytes, size_px: int) -> np.ndarray:
    """Decode to a (size, size, 3) uint8 square: alpha over white, short side fitted, centre cut."""
    with Image.open(io.BytesIO(data)) as opened:
        rgba = opened.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return fit_square(flat, size_px)


def _draw(points: list[list[float]], size_px: int) -> np.ndarray:
    """Rasterise QMUL strokes: rows of x, y in a 256 box and a flag that lifts the pen."""
    scale = 2 * size_px / 256
    canvas = Image.new("L", (2 * size_px, 2 * size_px), 255)
    pen = ImageDraw.Draw(canvas)
    stroke: list[tuple[float, float]] = []
    for x, y, pen_up in points:
        stroke.append((x * scale, y * scale))
        if pen_up:
            pen.line(stroke, fill=0, width=max(2, size_px // 32), joint="curve")
            stroke = []
    small = canvas.resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.repeat(np.asarray(small)[..., None], 3, axis=2)


def _captions(media: tuple[str, ...], nouns: list[str]) -> tuple[str, ...]:
    """Put every medium before every noun, with an article."""
    return tuple(
        f"{medium} {with_article(noun)}".strip().lower() for medium in media for noun in nouns
    )


def _code_points(emoji: str) -> str:
    return "_".join(f"{ord(char):x}" for char in emoji if ord(char) != 0xFE0F)


def _file_code_points(stem: str) -> str:
    points = stem.removeprefix("emoji_u").split("_")
    return "_".join(point.lstrip("0") or "0" for point in points if point != "fe0f")


def _table(
    name: str,
    images: list[np.ndarray],
    captions: list[tuple[str, ...]],
    groups: list[str] | None = None,
) -> PictureTable:
    return PictureTable(
        name=name,
        images=np.stack(images),
        captions=tuple(captions),
        groups=tuple(groups) if groups else None,
    )
