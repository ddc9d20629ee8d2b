"""Arguments that several commands of the command line share."""

import argparse
import re
from pathlib import Path

Subparsers = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]  no public name


def new_command(
    commands: "Subparsers[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    """Add a command, described by what it does."""
    command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    command.set_defaults(command=name)
    return command


def add_query(command: argparse.ArgumentParser) -> None:
    """Add the parts of a query, and the kit."""
    command.add_argument(
        "--sketch",
        type=Path,
        help="drawing: an image, or strokes (JSON, QuickDraw, .npy, .npz, SVG)",
    )
    command.add_argument("--image", type=Path, help="photo to use instead of a drawing")
    command.add_argument("--text", default="", help="words: colour, material, style, surroundings")
    command.add_argument(
        "--query", type=Path, dest="saved_query", metavar="SAFETENSORS",
        help="composed query written by search --save-query",
    )  # fmt: skip
    command.add_argument(
        "--balance",
        type=float,
        help="from 0 (drawing only) to 1 (words only); default: 0.5, or that of --query",
    )
    command.add_argument("--composer", help="default: duet, or basic where the kit has none")
    add_tokens(command)
    add_kit(command)


def add_tokens(command: argparse.ArgumentParser) -> None:
    """Add textual inversions that the text may name."""
    command.add_argument(
        "--token", action="append", default=[], dest="tokens", metavar="FILE[:NAME]",
        help="textual inversion, a .safetensors file, as a word of the text: <NAME>, or <FILE> "
        "without its ending; may be repeated",
    )  # fmt: skip


def parse_size(text: str) -> tuple[int, int]:
    """Return the width and height in pixels that a text such as "512x384" names.

    Raises:
        argparse.ArgumentTypeError: It names none.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,4})[xX×]([1-9][0-9]{0,4})", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(
            f"a size must be WIDTHxHEIGHT in pixels, such as 512x384, got {text[:40]!r}"
        )
    return int(found[1]), int(found[2])


def add_drawing(command: argparse.ArgumentParser) -> None:
    """Add how images are drawn, and where they are written."""
    command.add_argument("--output", type=Path, required=True, metavar="PNG")
    add_overwrite(command)
    command.add_argument("--seed", type=int, help="default: a random one, which is printed")
    command.add_argument("--num-images", type=int, default=1)
    for name, kind in (
        ("--num-inference-steps", int),
        ("--guidance-scale", float),
        ("--controlnet-conditioning-scale", float),
    ):
        command.add_argument(name, type=kind, help="default: the kit's")
    command.add_argument(
        "--finish-noise", type=float, metavar="SHARE",
        help="share of noise from which the kit's finisher draws the rest in one step; 0 leaves "
        "all steps to the sampler (default: the kit's)",
    )  # fmt: skip
    command.add_argument("--negative-text", default="")
    command.add_argument(
        "--control", default="", dest="control_name", metavar="CONTROL",
        help="control network that follows the drawing: scribble, lineart, canny, depth, as far as "
        "the kit has it (duet kits lists them)",
    )  # fmt: skip
    command.add_argument(
        "--control-image", type=Path, metavar="IMAGE",
        help="finished control image in place of the drawing's lines: white on black, or depth",
    )  # fmt: skip
    command.add_argument(
        "--control-from", metavar="DETECTOR",
        help="make the control image of the photo, or the photographed drawing: hed, pidinet, "
        "lineart or canny",
    )  # fmt: skip
    add_loras(command)
    add_style(command)
    add_fast(command)
    add_offload(command)


def add_style(command: argparse.ArgumentParser) -> None:
    """Add the picture whose style is taken on."""
    command.add_argument(
        "--style-image", metavar="FILE[:SCALE]",
        help="picture whose style is taken on, by kits with an IP-Adapter, and how strongly "
        "(default: 0.6)",
    )  # fmt: skip


def add_loras(command: argparse.ArgumentParser) -> None:
    """Add LoRAs to draw with."""
    command.add_argument(
        "--lora", action="append", default=[], dest="loras", metavar="FILE[:SCALE]",
        help="LoRA to draw with, a .safetensors file, and how strongly it acts (default: 1); "
        "may be repeated",
    )  # fmt: skip


def add_kit(command: argparse.ArgumentParser) -> None:
    """Add the kit and the hardware that it runs on."""
    command.add_argument("--kit", default="mini", help="name or folder of a kit (default: mini)")
    command.set_defaults(fast=False, offload="auto")
    add_hardware(command)


def add_fast(command: argparse.ArgumentParser) -> None:
    """Add the choice of faster drawing."""
    command.add_argument(
        "--fast",
        action="store_true",
        help="draw faster: in fewer steps by a kit that names another for it, and otherwise such "
        "that images differ by rounding only",
    )


def add_offload(command: argparse.ArgumentParser) -> None:
    """Add what leaves the card while it is not at work."""
    command.add_argument(
        "--offload",
        choices=("auto", "none", "model", "sequential"),
        default="auto",
        help="what leaves the card while it is not at work; default: auto, what its memory needs",
    )


def add_hardware(command: argparse.ArgumentParser) -> None:
    """Add device and precision."""
    command.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps; default: auto, the fastest that is present",
    )
    command.add_argument(
        "--dtype",
        default="auto",
        help="fp32, fp16, bf16; default: auto, bf16 or fp16 on a GPU and fp32 on a CPU",
    )


def add_overwrite(command: argparse.ArgumentParser) -> None:
    """Add whether a file may be replaced."""
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a file that exists; otherwise the result gets a number",
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the output as JSON."""
    command.add_argument("--json", action="store_true", help="print JSON")
