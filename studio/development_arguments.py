"""Arguments of the commands that train and measure kits."""

import argparse
from pathlib import Path

from composer import names
from studio.arguments import Subparsers, add_json, add_kit, add_offload, new_command


def add_train(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add `train`: the mini kit, or a composer for another kit."""
    command = new_command(commands, "train", "train the mini kit, all stages or one")
    choices = ("mini", "composer", *STAGES)
    command.add_argument("stage", choices=choices, metavar="STAGE", help=_STAGE_HELP)
    command.add_argument("name", nargs="?", metavar="NAME", help="name of the composer")
    command.add_argument("--kit", dest="kit_name", help="composer: train it for this existing kit")
    command.add_argument("--budget", choices=("cpu", "gpu"), default="cpu")
    command.add_argument("--out", type=Path, default=Path(".cache/mini"), help="the kit's folder")
    command.add_argument("--pack", "--data", type=Path, default=Path(".cache/catalogue"))
    command.add_argument("--natural", type=Path, help="folder of the natural training archives")


STAGES = (
    *("photos", "encoder", "words", "clip"),
    names.CONVERTER,
    *names.TRAINED,
    names.SLERP,
    "confidence",
    *("autoencoder", "pictures", "one-step"),
    *("judge", "feature-judge"),
)
_STAGE_HELP = f"mini (all, in order), composer NAME, or one of {', '.join(STAGES)}"


BENCHES = (
    *("retrieval", "composers", "partial", "ablations", "evidence", "drawings"),
    *("confidence", "domains", "generation", "pictures", "balance"),
    *("index", "scale", "search", "speed", "tokens"),
)


def add_bench(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add `bench`: measurements, with one option or another for each."""
    command = new_command(commands, "bench", "measure a kit on the shipped gallery")
    command.add_argument("bench", choices=BENCHES)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--sheet", type=Path, help="write a sheet of the pictures")
    command.add_argument(
        "--composers", nargs="+", metavar="NAME", help="composers: measure only these"
    )
    command.add_argument("--page", type=Path, help="composers: write a page into this folder")
    command.add_argument(
        "--natural",
        type=Path,
        help="composers, confidence, drawings, pictures: folder of the natural archives",
    )
    command.add_argument(
        "--imagenet-r", type=Path, nargs=2, metavar=("RENDITIONS", "PHOTOS"),
        help="composers: measure on ImageNet-R instead; PHOTOS are ImageNet's validation images, "
        "one folder a class",
    )  # fmt: skip
    command.add_argument(
        "--pack", type=Path, help="ablations: folder of the training pack, to also train variants"
    )
    command.add_argument(
        "--count",
        type=int,
        help="index: pictures (5,000); search, scale: items (1,000,000); tokens, retrieval with "
        "--imagine: queries (200); domains: photos a domain (28); composers with --imagenet-r: "
        "photos that ask (400)",
    )
    command.add_argument(
        "--imagine", type=int, metavar="N",
        help="retrieval: compare with searches by N pictures that are generated of each query",
    )  # fmt: skip
    command.add_argument(
        "--best-of", type=int, metavar="N",
        help="generation: compare the best of N pictures of each query with one",
    )  # fmt: skip
    command.add_argument(
        "--ways", nargs="+", metavar="WAY",
        help="domains: only these of name, words, examples, one-kind; generation: only these "
        "conditions, by their names in the table",
    )  # fmt: skip
    command.add_argument("--strength", type=float, help="domains: of the transfers (the kit's)")
    command.add_argument(
        "--faithful", action="store_true", dest="is_faithful",
        help="domains: transfers by inversion of the photo",
    )  # fmt: skip
    command.add_argument("--publish", metavar="ADDRESS", help="scale: also measure Milvus there")
    command.add_argument(
        "--steps",
        type=int,
        help="ablations: steps of each training (60); speed, retrieval: of drawing",
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
    add_offload(command)
    command.add_argument("--dim", type=int, default=512, help="search, scale: width of the vectors")
    command.add_argument(
        "--items",
        type=int,
        default=100_000,
        help="search: items in the gallery of a complete search",
    )
    add_kit(command)
    add_json(command)
