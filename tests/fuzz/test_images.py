"""Three hundred mutated pictures through index and search."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from composer.images import ImageError, ImageLimits, open_image
from composer.query import Query
from retrieval.indexing.encode import IndexOptions, index_folder
from retrieval.store.maintenance import check_index
from retrieval.store.table import Store
from studio.engine import Engine
from studio.kits import load_kit
from tests.fuzz.mutations import in_time, leaving_nothing, mutate_bytes
from tests.pictures import chunk_bomb, encoded, noise, scan_bomb, segment_bomb
from tests.studio.tiny_kit import write_gallery, write_kit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Pillow's, of damaged metadata
]

NUM_PICTURES = 300
LIMITS = ImageLimits(max_px=4_000_000, max_jpeg_px=8_000_000, max_s=2.0)
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}),
    ("WEBP", {"lossless": True}), ("AVIF", {"speed": 10}),
)  # fmt: skip


def pictures() -> list[bytes]:
    """Sound pictures of every format, with metadata; also some that are decoded apart."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2021:07:30 12:34:56"
    return [
        encoded(noise((side, side), 40).convert("RGB"), fmt, exif=exif.tobytes(), **options)
        for side in (48, 800)
        for fmt, options in KINDS
    ]


def write_folder(folder: Path) -> None:
    """Mutated pictures; most changes are near the start, where headers are."""
    rng, sound = np.random.default_rng(5), pictures()
    folder.mkdir()
    for number in range(NUM_PICTURES):
        data = sound[number % len(sound)]
        end = len(data) if number % 3 == 0 else min(len(data), 400)
        (folder / f"{number:03}.png").write_bytes(mutate_bytes(data, rng, end))
    for name, bomb in (
        ("chunks", chunk_bomb()), ("segments", segment_bomb()), ("scans", scan_bomb(512, 6000)),
    ):  # fmt: skip
        (folder / f"{name}.png").write_bytes(bomb)


def test_mutated_pictures_are_indexed_or_left_out(tmp_path: Path):
    folder = tmp_path / "photos"
    write_folder(folder)
    engine = Engine(load_kit(str(write_kit(tmp_path / "kit", draws=False))))
    options = IndexOptions(limits=LIMITS, num_workers=2)
    report = index_folder(folder, folder / ".duet", engine.backbone, kit="tiny", options=options)
    stored = {item.path for item in Store.open(folder / ".duet").items()}
    reasons = {one.path: one.reason for one in report.skipped}
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert stored | set(reasons) == files
    assert {"chunks.png", "segments.png", "scans.png"} <= set(reasons)
    assert all(reason.startswith("It ") and reason.endswith(".") for reason in reasons.values())
    assert check_index(folder / ".duet").findings == ()
    assert engine.gallery(folder / ".duet")


def test_mutated_pictures_are_searched_with_or_refused(tmp_path: Path):
    folder, kit = tmp_path / "photos", write_kit(tmp_path / "kit", draws=False)
    write_folder(folder)
    index = write_gallery(tmp_path / "gallery", kit)
    engine = Engine(load_kit(str(kit)))
    hits = []

    def search(file: Path) -> None:
        with in_time(file.name), contextlib.suppress(ImageError):
            query = Query(image=open_image(file, LIMITS))
            hits.append(len(engine.search(engine.compose(query), index, 3).hits))

    for file in sorted(folder.iterdir())[:24]:  # what is loaded or started once
        search(file)
    with leaving_nothing(tmp_path):
        for file in sorted(folder.iterdir()):
            search(file)
    assert set(hits) == {3}
    assert NUM_PICTURES / 10 < len(hits) < NUM_PICTURES
