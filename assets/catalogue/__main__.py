"""Command line of the catalogue: preview, pack, gallery, scenes, domains and sheet."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 2, with one sentence on stderr, for errors of the user."""
    options = _parser().parse_args(arguments)
    try:
        if options.renders:
            _say_if_slow()
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
    pack = commands.add_parser("pack", help="the training pack")
    pack.add_argument("--out", type=Path, default=Path(".cache/catalogue"))
    pack.add_argument("--image-px", type=int, default=256, help="side of the pictures")
    pack.add_argument("--spp", type=int, default=12, help="samples a pixel")
    pack.set_defaults(run=_pack)
    gallery = commands.add_parser("gallery", help="the shipped gallery of test designs")
    gallery.add_argument("--out", type=Path, default=Path("assets/gallery"))
    gallery.add_argument("--work", type=Path, default=Path(".cache/gallery"))
    gallery.add_argument("--spp", type=int, default=25)
    gallery.set_defaults(run=_gallery)
    scenes = commands.add_parser("scenes", help="two to four objects in relation")
    scenes.add_argument("--out", type=Path, required=True)
    scenes.add_argument("--work", type=Path, default=Path(".cache/scenes"))
    scenes.add_argument("--split", default="test", help="test, validation or train")
    scenes.add_argument("--size", type=int, default=256)
    scenes.add_argument("--spp", type=int, default=16)
    scenes.set_defaults(run=_scenes)
    domains = commands.add_parser("domains", help="designs in every domain")
    domains.add_argument("--out", type=Path, default=Path("assets/domains"))
    domains.add_argument("--work", type=Path, default=Path(".cache/domains"))
    domains.add_argument("--split", default="test", help="test, validation or train")
    domains.set_defaults(run=_domains, limit=80)
    for command in (pack, gallery, scenes, domains):
        command.add_argument("--workers", type=int, default=2)
        command.add_argument("--limit", type=int, help="number of designs or groups, for a try")
    sheet = commands.add_parser("sheet", help="a contact sheet of a pack or gallery")
    sheet.add_argument("folder", type=Path)
    sheet.add_argument("--out", type=Path, required=True)
    sheet.add_argument("--count", type=int, default=96)
    sheet.add_argument("--columns", type=int, default=12)
    for command in (preview, pack, gallery, scenes, domains):
        command.set_defaults(renders=True)
    sheet.set_defaults(run=_sheet, renders=False)
    return parser


def _say_if_slow() -> None:
    from assets.catalogue.engine import NO_LLVM, find_llvm

    if find_llvm() is None:
        sys.stderr.write(f"{NO_LLVM}\n")


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


def _pack(options: argparse.Namespace) -> None:
    from assets.catalogue.pack import PackOptions, pack

    pack(
        PackOptions(
            out=options.out,
            image_px=options.image_px,
            spp=options.spp,
            num_workers=options.workers,
            limit=options.limit,
        )
    )


def _gallery(options: argparse.Namespace) -> None:
    from assets.catalogue.gallery import GalleryOptions, gallery

    gallery(
        GalleryOptions(
            out=options.out,
            work=options.work,
            spp=options.spp,
            num_workers=options.workers,
            limit=options.limit,
        )
    )


def _scenes(options: argparse.Namespace) -> None:
    from assets.catalogue.scenes import SceneOptions, scenes

    scenes(
        SceneOptions(
            out=options.out,
            work=options.work,
            split=options.split,
            size_px=options.size,
            spp=options.spp,
            num_workers=options.workers,
            limit=options.limit,
        )
    )


def _domains(options: argparse.Namespace) -> None:
    from assets.catalogue.domain_set import DomainOptions, domain_set

    domain_set(
        DomainOptions(
            out=options.out,
            work=options.work,
            num_workers=options.workers,
            limit=options.limit,
            split=options.split,
        )
    )


def _sheet(options: argparse.Namespace) -> None:
    from assets.catalogue.sheet import read_pictures, sheet

    images, labels = read_pictures(options.folder, options.count)
    sheet(images, options.columns, labels).save(options.out)


if __name__ == "__main__":
    sys.exit(main())
