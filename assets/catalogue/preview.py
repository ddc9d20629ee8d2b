"""A sheet of one kind: designs down, colourways across."""

import importlib
import zlib
from pathlib import Path

import numpy as np

from assets.catalogue.lighting import BACKDROPS
from assets.catalogue.model import Kind
from assets.catalogue.render import Camera, View, prepare, render
from assets.catalogue.sheet import sheet


def load_kind(name: str) -> Kind:
    """Return a kind from its own module, whether or not the others exist.

    Raises:
        ValueError: If no module of that name holds a kind.
    """
    try:
        module = importlib.import_module(f"assets.catalogue.kinds.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(f'There is no kind "{name}" in assets/catalogue/kinds.') from error
    for value in vars(module).values():
        if isinstance(value, Kind) and value.name == name:
            return value
    raise ValueError(f'The module of "{name}" must hold a `Kind` of that name.')


def preview(
    kind: Kind, out: Path, *, num_designs: int, size_px: int, spp: int, seed: int = 0
) -> None:
    """Render the first designs of a kind, a row each, in the 8 colourways and write a sheet."""
    images, labels = [], []
    for design in range(num_designs):
        rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode()), design])
        shape = kind.sample(rng)
        prepared = prepare(kind.build(shape))
        for colourway in kind.colourways:
            view = View(
                camera=Camera(
                    azimuth=rng.uniform(*kind.azimuths), elevation=rng.uniform(*kind.elevations)
                ),
                backdrop=BACKDROPS[int(rng.integers(len(BACKDROPS)))],
                light=int(rng.integers(1 << 30)),
            )
            images.append(render(prepared, colourway, view, size_px, spp).image)
            labels.append(", ".join(f"{f.colour} {f.material}" for _, f in colourway.finishes))
    sheet(images, len(kind.colourways), labels).save(out)
