"""Command of the CLIP stage."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from composer.data.catalogue import CataloguePack, picture_tables
from composer.data.natural import read_natural
from composer.training.clip.recipe import RECIPES
from composer.training.clip.trainer import ClipPaths, train_clip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage from a shell; return the exit code, 2 for an error the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.clip")
    parser.add_argument("--data", type=Path, required=True, help="the catalogue's training pack")
    parser.add_argument("--natural", type=Path, help="folder of the natural archives")
    parser.add_argument("--out", type=Path, required=True, help="the CLIP folder")
    parser.add_argument("--state", type=Path, default=Path(".cache/training/clip"))
    parser.add_argument("--budget", choices=tuple(RECIPES), default="cpu")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("composer").setLevel(logging.INFO)
    device = "cuda" if options.budget == "gpu" else "cpu"
    try:
        tables = picture_tables(CataloguePack.open(options.data))
        if options.natural is not None:
            tables += read_natural(options.natural)
        paths = ClipPaths(out=options.out, state=options.state)
        train_clip(RECIPES[options.budget], tables, paths, device)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
