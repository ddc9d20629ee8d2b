"""The command line: arguments here, work in `studio.commands`, imported when it is asked for."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from generation import defaults

EXIT_USER, EXIT_INTERRUPTED = 2, 130

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, or 2 for what the user can mend."""
    chosen = parser().parse_args(arguments)
    try:
        return _run(chosen)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `duet ... | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(chosen: argparse.Namespace) -> int:
    if chosen.module == "index" or getattr(chosen, "what", None) == "index":
        # Read when torch is loaded: threads that have nothing to encode leave the cores to those
        # that decode pictures. A quarter more pictures a second on two cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command: Command = importlib.import_module(f"studio.commands.{chosen.module}").run
    from studio.errors import USER_ERRORS

    try:
        return command(chosen)
    except USER_ERRORS as error:
        print(f"duet: {error}", file=sys.stderr)
        return EXIT_USER


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
        "--index", type=_place, help="gallery, as for search (default: the shipped one)"
    )
    command.add_argument("--host", default="127.0.0.1", help="address to listen on")
    command.add_argument("--port", type=int, default=7860)
    command.add_argument("--allow-host", action="append", default=[], metavar="NAME")
    command.add_argument("--frame-ancestor", action="append", default=[], metavar="ORIGIN")
    command.add_argument("--public", action="store_true", help="allow others to reach the page")
    command.add_argument("--no-browser", action="store_true", help="print the address only")


def _add_index(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "index", "make or update the index of a folder of pictures")
    command.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    command.add_argument(
        "--index", type=_place, help="a folder (default: FOLDER/.duet), or s3://BUCKET/NAME"
    )
    command.add_argument("--rebuild", action="store_true", help="drop what is there and start anew")
    command.add_argument(
        "--publish", metavar="ADDRESS", help="send it to Milvus too, http://host:19530 or FILE.db"
    )
    command.add_argument(
        "--publish-root", type=Path, metavar="DIR", help="folder that several galleries lie below"
    )
    command.add_argument("--items", type=Path, help="parquet with path, kind, domain and caption")
    command.add_argument(
        "--near", type=_cosine, default=0.994, metavar="COSINE", help="of near-duplicates"
    )
    command.add_argument(
        "--engine",
        choices=("exact", "lance", "ray"),
        help="lance: leave vectors on disk and search approximately; exact: compare all again; "
        "ray: embed on the cluster that RAY_ADDRESS names",
    )
    command.add_argument("--watch", action="store_true", help="stay, and follow changes")
    command.add_argument("--check", action="store_true", help="verify the index, change nothing")
    command.add_argument("--repair", action="store_true", help="verify the index and mend it")
    command.add_argument(
        "--export", type=Path, dest="export_to", metavar="DIR", help="write npy and parquet files"
    )
    command.add_argument(
        "--import", type=Path, dest="import_from", metavar="DIR", help="take vectors from there"
    )
    _add_kit(command)
    _add_json(command)


def _add_search(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "search", "find pictures by drawing and words")
    _add_query(command)
    command.add_argument(
        "--index",
        type=_place,
        help="index folder, a folder that was indexed, s3://BUCKET/NAME, or a Milvus address",
    )
    command.add_argument(
        "--filter", metavar="CONDITION", help="\"domain = 'photo' and not tags has 'red'\""
    )
    command.add_argument("--top-k", type=int, default=10, metavar="K")
    command.add_argument("--like", nargs="+", default=[], metavar="ID", help="more like these hits")
    command.add_argument("--unlike", nargs="+", default=[], metavar="ID", help="less like these")
    command.add_argument(
        "--within", type=Path, metavar="JSON", help="only among what search --json printed"
    )
    command.add_argument(
        "--diversity", type=float, default=0.0, help="0 the nearest ... 1 unlike each other"
    )
    command.add_argument(
        "--all-copies", action="store_true", help="show near-duplicates one by one"
    )
    command.add_argument("--sheet", type=Path, metavar="PNG", help="save a contact sheet")
    command.add_argument(
        "--evidence", action="store_true", help="mark what of each hit answers which words"
    )
    command.add_argument("--save-query", type=Path, metavar="SAFETENSORS")
    _add_json(command)


def _add_generate(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "generate", "paint new images from drawing and words")
    _add_query(command)
    _add_drawing(command)
    _add_json(command)


def _add_transfer(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "transfer", "move an image into another domain")
    command.add_argument("source", type=Path, metavar="IMAGE")
    command.add_argument("--to", required=True, metavar="WORDS", help='"watercolour", "night", ...')
    command.add_argument("--strength", type=float, default=defaults.STRENGTH)
    command.add_argument("--composer", help="default: duet, or slerp where the kit has none")
    _add_kit(command)
    _add_drawing(command)
    _add_json(command)


def _add_kits(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    _add_json(_command(commands, "kits", "list the kits"))


def _add_train(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "train", "train the mini kit, all stages or one")
    choices = ("mini", "composer", *_STAGES)
    command.add_argument("what", choices=choices, metavar="STAGE", help=_STAGE_HELP)
    command.add_argument("name", nargs="?", metavar="NAME", help="which composer")
    command.add_argument("--kit", help="composer: train it for this kit in place of --out's")
    command.add_argument("--budget", choices=("cpu", "gpu"), default="cpu")
    command.add_argument("--out", type=Path, default=Path(".cache/mini"), help="the kit's folder")
    command.add_argument("--pack", "--data", type=Path, default=Path(".cache/catalogue"))
    command.add_argument("--natural", type=Path, help="folder of the natural training archives")


_SENTENCES = (
    "sentence",
    "sentence-small",
    "sentence-medium",
    "sentence-large",
    "sentence-symmetric",
)
_COMPOSERS = ("converter", "duet", "modality", "prompted", "prompted-category", *_SENTENCES)
_STAGES = (
    "clip",
    *_COMPOSERS,
    "slerp",
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
    command = _command(commands, "bench", "measure the kit on the shipped gallery")
    command.add_argument("what", choices=_BENCHES)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--sheet", type=Path, help="write the pictures here")
    command.add_argument("--composers", nargs="+", metavar="NAME", help="composers: only these")
    command.add_argument("--page", type=Path, help="composers: write a page into this folder")
    command.add_argument("--natural", type=Path, help="composers: folder of the natural archives")
    command.add_argument(
        "--pack", type=Path, help="ablations: folder of the training pack, to train variants too"
    )
    command.add_argument(
        "--count", type=int, help="index: pictures (5,000); search, scale: items (1,000,000)"
    )
    command.add_argument("--publish", metavar="ADDRESS", help="scale: to Milvus too")
    command.add_argument("--steps", type=int, default=60, help="ablations: of each training")
    command.add_argument("--dim", type=int, default=512, help="search, scale: their width")
    command.add_argument(
        "--items", type=int, default=100_000, help="search: gallery of the whole search"
    )
    _add_kit(command)
    _add_json(command)


def _add_doctor(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = _command(commands, "doctor", "tell what is installed, loaded and licensed")
    _add_kit(command)
    _add_json(command)


def _cosine(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


def _place(text: str) -> Path | str:
    """A folder, an address of an object store, or of Milvus: http://host:19530, FILE.db, #NAME."""
    is_address = "://" in text or text.split("#")[0].endswith(".db")
    return text if is_address else Path(text)


def _command(
    commands: "Subparsers[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    command.set_defaults(module=name)
    return command


def _add_query(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sketch", type=Path, help="a drawing: an image, or strokes as JSON")
    command.add_argument("--image", type=Path, help="a photo as the reference instead")
    command.add_argument("--text", default="", help="what the drawing does not say")
    command.add_argument("--query", type=Path, help="a composed query saved by --save-query")
    command.add_argument("--balance", type=float, default=0.5, help="0 drawing ... 1 words")
    command.add_argument("--composer", help="default: duet, or slerp where the kit has none")
    _add_kit(command)


def _add_drawing(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", type=Path, required=True, metavar="PNG")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--num-images", type=int, default=1)
    command.add_argument("--num-inference-steps", type=int, default=defaults.NUM_INFERENCE_STEPS)
    command.add_argument("--guidance-scale", type=float, default=defaults.GUIDANCE_SCALE)
    command.add_argument(
        "--controlnet-conditioning-scale",
        type=float,
        default=defaults.CONTROLNET_CONDITIONING_SCALE,
    )
    command.add_argument("--negative-text", default="")


def _add_kit(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kit", default="mini", help="name or folder of a kit (default: mini)")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")
