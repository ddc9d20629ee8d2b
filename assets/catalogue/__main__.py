"""Command line of the catalogue: preview, pack, gallery and sheet."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 2, with one sentence on stderr, for what the user can mend."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, ImportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(
            "Stopped; what is finished is kept, the same command goes on from there.\n"
        )
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m assets.catalogue", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    preview = commands.add_parser("preview", help="a sheet of designs x colourways of one kind")
    preview.add_argument("kind")
    preview.add_argument("--out", type=Path, required=True)
    preview.add_argument("--num-designs", type=int, default=8)
    preview.add_argument("--size", type=int, default=160)
    preview.add_argument("--spp", type=int, default=16)
    preview.add_argument("--seed", type=int, default=0)
    preview.set_defaults(run=_preview)
    return parser


def _preview(options: argparse.Namespace) -> None:
    from assets.catalogue.preview import load_kind, preview

    preview(
        load_kind(options.kind),
        options.out,
        num_designs=options.num_designs,
        size_px=options.size,
        spp=options.spp,
        seed=options.seed,
    )


if __name__ == "__main__":
    sys.exit(main())
