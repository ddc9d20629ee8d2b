"""Speed of indexing a folder, against the bare encoder and a plain script.

Each is measured in a separate process, on the same JPEGs, after its model is loaded.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from composer.backbone import Backbone
from composer.images import open_image
from retrieval.benchmarks.indexing_peer import plain_features
from retrieval.indexing.encode import IndexOptions, index_folder

# Common sizes of pictures, with their percentages.
SIZES = (((640, 480), 40), ((1280, 960), 30), ((1920, 1280), 25), ((4000, 3000), 5))
BATCH_SIZE = 32
Result = TypeVar("Result")
NUM_HELD = 16  # batches of decoded pictures that the bare encoder reuses


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Speed of one method of encoding a folder.

    Attributes:
        what: Name of the method.
        num_images: Number of images encoded.
        seconds: Total time.
        peak_rss_bytes: Peak memory of its process, without the workers of a DataLoader.
    """

    what: str
    num_images: int
    seconds: float
    peak_rss_bytes: int

    @property
    def images_per_s(self) -> float:
        """Images per second."""
        return self.num_images / self.seconds


def write_pictures(folder: Path, count: int, *, seed: int = 0) -> None:
    """Write JPEGs of mixed sizes, colour fields with grain; every fourth has an EXIF rotation."""
    rng = np.random.default_rng(seed)
    shares = np.array([share for _, share in SIZES])
    grain = rng.integers(-14, 15, (3000, 4000, 1), dtype=np.int16)
    exif = Image.Exif()
    exif[0x0112] = 6
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        width, height = SIZES[rng.choice(len(SIZES), p=shares / shares.sum())][0]
        field = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        levels = np.asarray(field.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        levels = (levels + grain[:height, :width]).clip(0, 255).astype(np.uint8)
        rotation = exif if number % 4 == 0 else Image.Exif()
        Image.fromarray(levels).save(folder / f"{number:06}.jpg", quality=88, exif=rotation)


def rates(
    folder: Path, scratch: Path, backbone: str | Path, *, device: str = "cpu"
) -> tuple[Rate, Rate, Rate]:
    """Measure indexing, the bare encoder, and the plain script on the JPEGs of a folder.

    Args:
        folder: Folder of the pictures.
        scratch: Empty folder for output.
        backbone: Backbone, as `Backbone.load` accepts it.
        device: Device of the encoder.
    """
    return (
        _measure("duet index", _index, folder, scratch, backbone, device),
        _measure("bare encoder", _bare, folder, scratch, backbone, device),
        _measure("open_clip and a DataLoader", _plain, folder, scratch, backbone, device),
    )


Method = Callable[[Path, Path, str | Path, str], tuple[int, float]]


def _measure(
    what: str, method: Method, folder: Path, scratch: Path, backbone: str | Path, device: str
) -> Rate:
    return run_in_subprocess(_run, what, method, folder, scratch, backbone, device)


def run_in_subprocess(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in a fresh process, which has nothing else in memory."""
    # Spawned: the engine's threads and CUDA do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def _run(
    what: str, method: Method, folder: Path, scratch: Path, backbone: str | Path, device: str
) -> Rate:
    num_images, seconds = method(folder, scratch, backbone, device)
    return Rate(what=what, num_images=num_images, seconds=seconds, peak_rss_bytes=peak_rss_bytes())


def peak_rss_bytes() -> int:
    """Return the peak memory of this process.

    On Linux `getrusage` would include the memory of the parent at the start of this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _index(folder: Path, scratch: Path, source: str | Path, device: str) -> tuple[int, float]:
    backbone = Backbone.load(source, device=device)
    began = time.perf_counter()
    options = IndexOptions(batch_size=BATCH_SIZE)
    report = index_folder(folder, scratch / "index", backbone, kit="bench", options=options)
    return report.num_added, time.perf_counter() - began


@torch.inference_mode()
def _bare(folder: Path, _: Path, source: str | Path, device: str) -> tuple[int, float]:
    backbone = Backbone.load(source, device=device)
    files = sorted(folder.glob("*.jpg"))
    held = [
        backbone.preprocess([open_image(file) for file in files[start : start + BATCH_SIZE]])
        for start in range(0, min(len(files), NUM_HELD * BATCH_SIZE), BATCH_SIZE)
    ]
    held = [pixels for pixels in held if len(pixels) == BATCH_SIZE] or held
    backbone.encode_image(held[0])
    num_done = 0
    began = time.perf_counter()
    while num_done < len(files):
        features = backbone.encode_image(held[num_done // BATCH_SIZE % len(held)]).features
        features.float().cpu()
        num_done += len(features)
    return num_done, time.perf_counter() - began


def _plain(folder: Path, scratch: Path, source: str | Path, device: str) -> tuple[int, float]:
    return plain_features(sorted(folder.glob("*.jpg")), scratch / "features.npy", source, device)
