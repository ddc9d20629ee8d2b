"""Arguments of `duet transfer` and `duet domains`."""

import argparse
from pathlib import Path

from studio.arguments import (
    Subparsers,
    add_drawing,
    add_json,
    add_kit,
    add_overwrite,
    add_tokens,
    new_command,
)

_LIKE_SUBJECT = (
    "photographs of the very subject of the examples, to compare with in place of the gallery's"
)
_INVERT = "search for the domain's tokens, which takes longer and says more"


def add_transfer(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add `duet transfer`."""
    command = new_command(
        commands, "transfer", "move an image, or a folder of them, into another domain"
    )
    command.add_argument("source", type=Path, metavar="IMAGE|FOLDER")
    command.add_argument(
        "--to", default="", metavar="WORDS",
        help='"watercolour", "night", ..., or a saved domain (duet domains)',
    )  # fmt: skip
    command.add_argument(
        "--like", nargs="+", default=[], type=Path, metavar="PICTURE",
        help="in place of --to: pictures that show the domain, or a folder of them",
    )  # fmt: skip
    command.add_argument(
        "--sweep", action="store_true", dest="sweeps",
        help="in place of --to: every domain of the kit and every saved one, and a sheet of all",
    )  # fmt: skip
    add_learning(command)
    command.add_argument(
        "--save-token", type=Path, metavar="SAFETENSORS",
        help="--like: keep the domain as a textual inversion (with --invert always: beside the "
        "output, unless said otherwise)",
    )  # fmt: skip
    command.add_argument(
        "--strength",
        type=float,
        help="from 0 (keep the image) to 1 (redraw it); default: the kit's",
    )
    command.add_argument(
        "--faithful", action="store_true", dest="is_faithful",
        help="begin with the noise that the image comes from (DDIM inversion), not with the "
        "seed's; not with a kit of few steps",
    )  # fmt: skip
    command.add_argument(
        "--keep-colours", action="store_true", dest="keeps_colours",
        help="the colours of the image; the domain gives lights, darks and textures",
    )  # fmt: skip
    command.add_argument(
        "--original-size", action="store_true", dest="keeps_size",
        help="the image's own size: what is drawn is enlarged, with some of the image's detail",
    )  # fmt: skip
    _add_mask(command)
    command.add_argument(
        "--best-of", type=int, metavar="N",
        help="draw N images and number them by how well they agree with image and domain",
    )  # fmt: skip
    command.add_argument("--composer", help="default: duet, or basic where the kit has none")
    add_tokens(command)
    add_kit(command)
    add_drawing(command)
    add_json(command)


def _add_mask(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mask", type=Path, metavar="IMAGE",
        help="redraw only what is white (or opaque) in this picture; the rest keeps its bytes",
    )  # fmt: skip
    command.add_argument(
        "--box", type=int, nargs=4, metavar=("X", "Y", "W", "H"),
        help="redraw only this rectangle: left and top edge, width and height in pixels",
    )  # fmt: skip
    command.add_argument(
        "--where", metavar="WORDS", help="redraw only what the words name, about: 'the green seat'"
    )
    command.add_argument(
        "--outside", action="store_true", dest="is_inverted",
        help="redraw everything but what --mask, --box or --where marks",
    )  # fmt: skip


def add_domains(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add `duet domains`."""
    command = new_command(
        commands, "domains", "list saved domains, learn one from pictures, remove or export one"
    )
    command.add_argument(
        "action", nargs="?", default="list", choices=("list", "add", "remove", "export"),
        metavar="list|add|remove|export",
    )  # fmt: skip
    command.add_argument("name", nargs="?", metavar="NAME", help="of the domain, one word")
    command.add_argument(
        "files", nargs="*", type=Path, metavar="FILE",
        help="add: pictures, a folder of them, or an exported domain; export: a .safetensors file",
    )  # fmt: skip
    add_learning(command)
    add_kit(command)
    add_overwrite(command)
    add_json(command)


def add_learning(command: argparse.ArgumentParser) -> None:
    """Add how a domain is learned from examples."""
    command.add_argument(
        "--like-subject", nargs="+", default=[], type=Path, metavar="PHOTO", help=_LIKE_SUBJECT
    )
    command.add_argument("--invert", action="store_true", dest="inverts", help=_INVERT)
