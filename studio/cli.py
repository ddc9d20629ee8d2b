"""The command line: its parser, and the way to the modules of `studio.commands`."""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from retrieval.store.address import parse_location
from studio.arguments import (
    Subparsers,
    add_drawing,
    add_fast,
    add_hardware,
    add_json,
    add_kit,
    add_loras,
    add_offload,
    add_overwrite,
    add_query,
    new_command,
    parse_size,
)
from studio.development_arguments import add_bench, add_train
from studio.transfer_arguments import add_domains, add_transfer

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
    from studio.errors import USER_ERRORS, path_problem

    try:
        return command(options)
    except USER_ERRORS as error:
        sentence = str(error)
    except (OSError, RuntimeError) as error:
        if not (sentence := path_problem(error)):
            raise
    from retrieval.files import printable

    print(f"duet: {printable(sentence)}", file=sys.stderr)
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
        add_transfer,
        add_domains,
        _add_export_token,
        _add_rerun,
        _add_compare,
        _add_kits,
        add_train,
        add_bench,
        _add_password,
        _add_doctor,
    ):
        add(commands)
    return top


def _add_demo(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "demo", "open the studio in a browser")
    add_kit(command)
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
        "--proxy", action="append", default=[], dest="proxies", metavar="ADDRESS",
        help="address of a proxy whose forwarded headers are believed; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--public", action="store_true", dest="is_public", help="allow others to reach the page"
    )
    command.add_argument(
        "--auth", type=Path, metavar="FILE",
        help="file of those who may use the page, with lines of: duet password NAME",
    )  # fmt: skip
    command.add_argument(
        "--access-log", type=Path, metavar="FILE",
        help="write a line for every request: time, address, route, status, never what was sent",
    )  # fmt: skip
    command.add_argument(
        "--metrics-port", type=int, metavar="PORT",
        help="offer counters for Prometheus at /metrics of this port of 127.0.0.1",
    )  # fmt: skip
    command.add_argument(
        "--content-check", metavar="FILE|MODULE:FUNCTION",
        help="hold back drawn pictures that fit a line of this text file, or that this function "
        "refuses",
    )  # fmt: skip
    command.add_argument(
        "--saved-domains", action="store_true", dest="offers_saved",
        help="with --public: offer visitors the domains that you saved (duet domains), too",
    )  # fmt: skip
    command.add_argument(
        "--no-browser", action="store_false", dest="opens_browser", help="print the address only"
    )
    add_loras(command)
    add_fast(command)
    add_offload(command)


def _add_index(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "index", "make or update the index of a folder of pictures")
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
    add_kit(command)
    add_json(command)


def _add_search(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "search", "find pictures by a drawing and words")
    add_query(command)
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
    command.add_argument(
        "--imagine", type=int, metavar="N",
        help="generate N pictures of the query and search with their features, too",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="--imagine: seed (default: 0)")
    command.add_argument("--save-query", type=Path, metavar="SAFETENSORS")
    add_overwrite(command)
    add_json(command)


def _add_generate(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "generate", "generate images from a drawing and words")
    add_query(command)
    add_drawing(command)
    command.add_argument(
        "--size", type=parse_size, metavar="WIDTHxHEIGHT",
        help="pixels of the images (default: the kit's own); what the kit cannot draw is enlarged",
    )  # fmt: skip
    command.add_argument(
        "--best-of", type=int, metavar="N",
        help="draw N images and number them by how well each agrees with drawing and words",
    )  # fmt: skip
    command.add_argument(
        "--index",
        type=parse_location,
        help="gallery that is searched for a match first, as for search (default: the shipped one)",
    )
    add_json(command)


def _add_export_token(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(
        commands,
        "export-token",
        "write a query as a textual inversion file, for other programs too",
    )
    add_query(command)
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
    add_overwrite(command)
    add_json(command)


def _add_rerun(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "rerun", "draw an image again from the metadata in its PNG")
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
    add_overwrite(command)
    command.add_argument("--kit", dest="kit_name", help="default: the kit that the PNG names")
    add_hardware(command)
    add_json(command)


def _add_compare(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "compare", "show in which settings two images differ")
    command.add_argument("first", type=Path, metavar="A")
    command.add_argument("second", type=Path, metavar="B")
    command.add_argument(
        "--output", type=Path, metavar="PNG", help="save a sheet with both images side by side"
    )
    add_overwrite(command)
    add_json(command)


def _add_kits(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "kits", "list the kits, download or remove one")
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
    add_json(command)


def _add_password(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "password", "make a line for the file of demo --auth")
    command.add_argument("name", metavar="NAME", help="name that a visitor logs in with")


def _add_doctor(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    command = new_command(commands, "doctor", "show what is installed, loaded and licensed")
    add_kit(command)
    add_json(command)


def _cosine(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value
