"""The command line: its parser, and the way to the modules of `studio.commands`."""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from composer import names
from retrieval.store.address import parse_location

EXIT_USER, EXIT_INTERRUPTED = 2, 130

Command = Callable[[Any], int]  # each takes its options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after an error of the user."""
    namespace = parser().parse_args(arguments)
    # Pillow warns of damaged metadata of a picture that is read all the same.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        return _run(namespace)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output stopped, as in `duet ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(namespace: argparse.Namespace) -> int:
    if "index" in (namespace.command, getattr(namespace, "bench", None)):
        # torch reads this when it is imported: idle threads then leave the cores to the threads
        # that decode pictures, which indexes a quarter more pictures a second on two cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from studio.commands.options import OPTIONS, make_options

    options = make_options(OPTIONS[namespace.command], vars(namespace))
    command: Command = importlib.import_module(_module_of(namespace.command)).run
    from studio.errors import USER_ERRORS

    try:
        return command(options)
    except USER_ERRORS as error:
        from retrieval.files import printable

        print(f"duet: {printable(str(error))}", file=sys.stderr)
        return EXIT_USER


def _module_of(command: str) -> str:
    return f"studio.commands.{command.replace('-', '_')}"


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="duet",
        description="Draw a little, say a little: search, transfer and generate with one query.",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        _add_demo,
        _add_index,
        _add_search,
        _add_generate,
        _add_transfer,
        _add_export_token,
        _add_rerun,
        _add_kits,
        _add_train,
        _add_bench,
        _add_doctor,
    ):
        add(commands)
    return top


Subparsers = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]  no public name


def _add_demo(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "demo", "open the studio in a browser")
    _add_kit(command)
    command.add_argument(
        "--index", type=parse_location, help="gallery, as for search (default: the shipped one)"
    )
    command.add_argument("--host", default="127.0.0.1", help="address to listen on")
    command.add_argument("--port", type=int, default=7860)
    command.add_argument(
        "--allow-host", action="append", default=[], dest="allowed_hosts", metavar="NAME",
        help="host name by which others reach the page; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--frame-ancestor", action="append", default=[], dest="frame_ancestors", metavar="ORIGIN",
        help="site that may show the page in a frame; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--root-path", default="", metavar="PATH",
        help="path under which a proxy offers the page, such as /studio",
    )  # fmt: skip
    command.add_argument(
        "--public", action="store_true", dest="is_public", help="allow others to reach the page"
    )
    command.add_argument(
        "--no-browser", action="store_false", dest="opens_browser", help="print the address only"
    )
    _add_loras(command)
    _add_fast(command)
    _add_offload(command)


def _add_index(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "index", "make or update the index of a folder of pictures")
    command.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    command.add_argument(
        "--index", type=parse_location, help="a folder (default: FOLDER/.duet), or s3://BUCKET/NAME"
    )
    command.add_argument("--rebuild", action="store_true", help="delete the index and start again")
    command.add_argument(
        "--publish", metavar="ADDRESS", help="also send it to Milvus: http://host:19530 or FILE.db"
    )
    command.add_argument(
        "--publish-root", type=Path, metavar="DIR", help="common parent folder of several galleries"
    )
    command.add_argument(
        "--items", type=Path, help="parquet file with path, kind, domain and caption"
    )
    command.add_argument(
        "--near",
        type=_cosine,
        default=0.994,
        metavar="COSINE",
        help="least similarity of near-duplicates",
    )
    command.add_argument(
        "--engine",
        choices=("exact", "lance", "ray"),
        help="lance: keep vectors on disk and search approximately; exact: compare with every "
        "vector; ray: embed on the cluster at RAY_ADDRESS",
    )
    command.add_argument("--watch", action="store_true", help="keep running and follow changes")
    command.add_argument(
        "--check", action="store_true", help="verify the index without changing it"
    )
    command.add_argument("--repair", action="store_true", help="verify the index and repair it")
    command.add_argument(
        "--export", type=Path, dest="export_to", metavar="DIR", help="write npy and parquet files"
    )
    command.add_argument(
        "--import", type=Path, dest="import_from", metavar="DIR", help="read vectors from there"
    )
    _add_kit(command)
    _add_json(command)


def _add_search(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "search", "find pictures by a drawing and words")
    _add_query(command)
    command.add_argument(
        "--index",
        type=parse_location,
        help="folder of an index or of indexed pictures, s3://BUCKET/NAME, or a Milvus address",
    )
    command.add_argument(
        "--filter", metavar="CONDITION", help="\"domain = 'photo' and not tags has 'red'\""
    )
    command.add_argument("--top-k", type=int, default=10, metavar="K")
    command.add_argument(
        "--like", nargs="+", default=[], metavar="ID", help="ids of hits to search for more of"
    )
    command.add_argument(
        "--unlike", nargs="+", default=[], metavar="ID", help="ids of hits to avoid"
    )
    command.add_argument(
        "--within",
        type=Path,
        metavar="JSON",
        help="search only the hits in the output of search --json",
    )
    command.add_argument(
        "--diversity",
        type=float,
        default=0.0,
        help="from 0 (most similar hits) to 1 (hits unlike each other)",
    )
    command.add_argument("--all-copies", action="store_true", help="show every near-duplicate")
    command.add_argument("--sheet", type=Path, metavar="PNG", help="save a contact sheet")
    command.add_argument(
        "--evidence", action="store_true", help="show which part of each hit matches which words"
    )
    command.add_argument("--save-query", type=Path, metavar="SAFETENSORS")
    _add_overwrite(command)
    _add_json(command)


def _add_generate(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "generate", "generate images from a drawing and words")
    _add_query(command)
    _add_drawing(command)
    _add_json(command)


def _add_transfer(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "transfer", "move an image into another domain")
    command.add_argument("source", type=Path, metavar="IMAGE")
    command.add_argument("--to", required=True, metavar="WORDS", help='"watercolour", "night", ...')
    command.add_argument(
        "--strength",
        type=float,
        help="from 0 (keep the image) to 1 (redraw it); default: the kit's",
    )
    command.add_argument("--composer", help="default: duet, or basic where the kit has none")
    _add_kit(command)
    _add_drawing(command)
    _add_json(command)


def _add_export_token(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(
        commands,
        "export-token",
        "write a query as a textual inversion file, for other programs too",
    )
    _add_query(command)
    command.add_argument(
        "--format",
        choices=("a1111", "comfyui", "invokeai", "diffusers"),
        default="a1111",
        help="program to write for (default: a layout that all of them read)",
    )
    command.add_argument(
        "--absorb-text", action="store_true", help="find tokens that say the words, too"
    )
    command.add_argument(
        "--tokens", type=int, dest="num_tokens", metavar="N",
        help="--absorb-text: number of tokens (default: 4)",
    )  # fmt: skip
    command.add_argument("--output", type=Path, required=True, metavar="SAFETENSORS")
    _add_overwrite(command)
    _add_json(command)


def _add_rerun(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "rerun", "draw an image again from the metadata in its PNG")
    command.add_argument("image", type=Path, metavar="PNG")
    command.add_argument(
        "--source", type=Path, metavar="IMAGE", help="the image that was transferred"
    )
    command.add_argument(
        "--lora", action="append", default=[], dest="loras", metavar="FILE",
        help="LoRA that the image was drawn with; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--style-image", type=Path, metavar="IMAGE", help="the image that steered the style"
    )
    command.add_argument("--output", type=Path, required=True, metavar="PNG")
    _add_overwrite(command)
    command.add_argument("--kit", dest="kit_name", help="default: the kit that the PNG names")
    _add_hardware(command)
    _add_json(command)


def _add_kits(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "kits", "list the kits, download or remove one")
    command.add_argument("action", nargs="?", choices=("fetch", "remove"), metavar="fetch|remove")
    command.add_argument(
        "name", nargs="?", metavar="NAME", help="name or folder of the kit, or detectors"
    )
    command.add_argument(
        "--control", nargs="+", default=[], dest="controls", metavar="CONTROL",
        help="fetch: also these control networks of the kit",
    )  # fmt: skip
    command.add_argument(
        "--yes", action="store_true", dest="is_confirmed", help="download without asking"
    )
    _add_json(command)


def _add_train(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "train", "train the mini kit, all stages or one")
    choices = ("mini", "composer", *_STAGES)
    command.add_argument("stage", choices=choices, metavar="STAGE", help=_STAGE_HELP)
    command.add_argument("name", nargs="?", metavar="NAME", help="name of the composer")
    command.add_argument("--kit", dest="kit_name", help="composer: train it for this existing kit")
    command.add_argument("--budget", choices=("cpu", "gpu"), default="cpu")
    command.add_argument("--out", type=Path, default=Path(".cache/mini"), help="the kit's folder")
    command.add_argument("--pack", "--data", type=Path, default=Path(".cache/catalogue"))
    command.add_argument("--natural", type=Path, help="folder of the natural training archives")


_STAGES = (
    *("photos", "encoder", "words", "clip"),
    names.CONVERTER,
    *names.TRAINED,
    names.SLERP,
    "confidence",
    "autoencoder",
    "diffusion",
    "control",
    "judge",
)
_STAGE_HELP = f"mini (all, in order), composer NAME, or one of {', '.join(_STAGES)}"


_BENCHES = (
    *("retrieval", "composers", "partial", "ablations", "evidence"),
    *("confidence", "generation", "index", "scale", "search", "speed"),
)


def _add_bench(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "bench", "measure a kit on the shipped gallery")
    command.add_argument("bench", choices=_BENCHES)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--sheet", type=Path, help="write a sheet of the pictures")
    command.add_argument(
        "--composers", nargs="+", metavar="NAME", help="composers: measure only these"
    )
    command.add_argument("--page", type=Path, help="composers: write a page into this folder")
    command.add_argument("--natural", type=Path, help="composers: folder of the natural archives")
    command.add_argument(
        "--pack", type=Path, help="ablations: folder of the training pack, to also train variants"
    )
    command.add_argument(
        "--count", type=int, help="index: pictures (5,000); search, scale: items (1,000,000)"
    )
    command.add_argument("--publish", metavar="ADDRESS", help="scale: also measure Milvus there")
    command.add_argument(
        "--steps", type=int, help="ablations: steps of each training (60); speed: of drawing (20)"
    )
    command.add_argument(
        "--random-weights",
        action="store_true",
        dest="has_random_weights",
        help="speed: random weights at full size in place of the kit's, for time and memory",
    )
    command.add_argument(
        "--batch", type=int, nargs="+", dest="batches", help="speed: images at once (1 4; CPU: 1)"
    )
    command.add_argument(
        "--columns",
        nargs="*",
        choices=("exact", "close", "lossy", "few-steps"),
        help="speed: only these ways to draw (none: the plain call alone)",
    )
    command.add_argument(
        "--control",
        choices=("both", "with", "without"),
        default="both",
        help="speed: with the control network, without it, or both in turn (default)",
    )
    _add_offload(command)
    command.add_argument("--dim", type=int, default=512, help="search, scale: width of the vectors")
    command.add_argument(
        "--items",
        type=int,
        default=100_000,
        help="search: items in the gallery of a complete search",
    )
    _add_kit(command)
    _add_json(command)


def _add_doctor(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "doctor", "show what is installed, loaded and licensed")
    _add_kit(command)
    _add_json(command)


def _cosine(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


def _command(
    commands: "Subparsers[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    command.set_defaults(command=name)
    return command


def _add_query(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sketch", type=Path, help="drawing: an image, or strokes as JSON")
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
    _add_kit(command)


def _add_drawing(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", type=Path, required=True, metavar="PNG")
    _add_overwrite(command)
    command.add_argument("--seed", type=int, help="default: a random one, which is printed")
    command.add_argument("--num-images", type=int, default=1)
    for name, kind in (
        ("--num-inference-steps", int),
        ("--guidance-scale", float),
        ("--controlnet-conditioning-scale", float),
    ):
        command.add_argument(name, type=kind, help="default: the kit's")
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
    _add_loras(command)
    _add_style(command)
    _add_fast(command)
    _add_offload(command)


def _add_style(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--style-image", metavar="FILE[:SCALE]",
        help="picture whose style is taken on, by kits with an IP-Adapter, and how strongly "
        "(default: 0.6)",
    )  # fmt: skip


def _add_loras(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--lora", action="append", default=[], dest="loras", metavar="FILE[:SCALE]",
        help="LoRA to draw with, a .safetensors file, and how strongly it acts (default: 1); "
        "may be repeated",
    )  # fmt: skip


def _add_kit(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kit", default="mini", help="name or folder of a kit (default: mini)")
    command.set_defaults(fast=False, offload="auto")
    _add_hardware(command)


def _add_fast(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--fast", action="store_true", help="draw faster; images differ by rounding only"
    )


def _add_offload(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--offload",
        choices=("auto", "none", "model", "sequential"),
        default="auto",
        help="what leaves the card while it is not at work; default: auto, what its memory needs",
    )


def _add_hardware(command: argparse.ArgumentParser) -> None:
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


def _add_overwrite(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a file that exists; otherwise the result gets a number",
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")
