"""`duet train`: the stages of the mini kit, each a process of its own, each resumable."""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.commands.shared import say
from studio.errors import UsageError
from studio.kits import KIT_FILE

LICENCE = (
    "Weights trained in part on research-only pictures (Sketchy, QMUL, PACS, Tiny-ImageNet, "
    "Flickr8k): for research and personal use; see NOTICE.md."
)
KNOWS = (
    "The mini kit knows the small world of its catalogue well and everyday photos only a little; "
    "expect rough results on pictures of your own."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Where a training reads and writes.

    `kit` is the finished kit's folder, `runs` holds resumable states.
    """

    kit: Path
    runs: Path
    pack: Path
    natural: Path | None
    budget: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage: its module and what it is told."""

    module: str
    arguments: Callable[[Work], Sequence[str | Path]]


def _clip(work: Work) -> Sequence[str | Path]:
    natural: list[str | Path] = ["--natural", work.natural] if work.natural else []
    told: list[str | Path] = ["--out", work.kit / "clip", "--state", work.runs / "clip"]
    return [*told, "--budget", work.budget, *natural]


def _duet(work: Work) -> Sequence[str | Path]:
    told = ["--kit", work.kit, "--state", work.runs / "duet"]
    return [*told, "--minutes", DUET_MINUTES[work.budget]]


def _slerp(work: Work) -> Sequence[str | Path]:
    return ["--kit", work.kit, "--output", work.runs / "slerp.json"]


def _image(work: Work) -> Sequence[str | Path]:
    return ["--out", work.runs, "--budget", work.budget]


def _image_with_sources(work: Work) -> Sequence[str | Path]:
    duet = work.kit / "composers" / "duet.safetensors"
    return [*_image(work), "--clip", work.kit / "clip", "--duet", duet]


DUET_MINUTES = {"cpu": "30", "gpu": "5"}
STAGES: dict[str, Stage] = {
    "clip": Stage(module="composer.training.clip", arguments=_clip),
    "duet": Stage(module="composer.training.duet", arguments=_duet),
    "slerp": Stage(module="composer.training.slerp", arguments=_slerp),
    "autoencoder": Stage(module="generation.training.autoencoder", arguments=_image),
    "diffusion": Stage(module="generation.training.diffusion", arguments=_image_with_sources),
    "control": Stage(module="generation.training.control", arguments=_image_with_sources),
    "judge": Stage(module="generation.training.judge", arguments=_image),
}


def run(arguments: argparse.Namespace) -> int:
    """Run one stage, or all in order, then put the kit together."""
    work = Work(
        kit=arguments.out / "kit",
        runs=arguments.out / "runs",
        pack=arguments.pack,
        natural=arguments.natural,
        budget=arguments.budget,
    )
    if not any(work.pack.glob("images-*.parquet")):
        raise UsageError(
            f"{work.pack} holds no training pack. Make it with: "
            f"python -m assets.catalogue pack --out {work.pack}"
        )
    names = list(STAGES) if arguments.what == "mini" else [arguments.what]
    for name in names:
        say(f"stage {name}")
        _run_stage(STAGES[name], work)
    write_kit(work)
    say(f"The kit is {work.kit}.")
    return 0


def _run_stage(stage: Stage, work: Work) -> None:
    told = ["--data", work.pack, *stage.arguments(work)]
    command = [sys.executable, "-m", stage.module, *map(str, told)]
    if subprocess.run(command, check=False).returncode:
        raise UsageError(f"The stage {stage.module} failed; run the command again to resume it.")


def write_kit(work: Work) -> None:
    """Gather what the stages made and write `kit.toml`; what is not made yet is left out."""
    exports = {"pipeline": work.runs / "diffusion" / "pipeline"}
    exports["controlnet"] = work.runs / "control" / "controlnet"
    for name, made in exports.items():
        if made.is_dir():
            shutil.copytree(made, work.kit / name, dirs_exist_ok=True)
    judge = work.runs / "judge" / "judge.safetensors"
    if judge.exists():
        shutil.copy2(judge, work.kit / judge.name)
    lines = ['name = "mini"', f"licence = {json.dumps(LICENCE)}", f"knows = {json.dumps(KNOWS)}"]
    lines += ["", "[backbone]", 'path = "clip"']
    if (work.kit / "composers" / "duet.safetensors").exists():
        for composer in ("duet", "slerp"):
            lines += ["", f"[composers.{composer}]", 'weights = "composers/duet.safetensors"']
        lines += _slerp_lines(work.runs / "slerp.json")
    drawing = [f'{key} = "{name}"' for key, name in _DRAWING if (work.kit / name).exists()]
    lines += ["", "[pipeline]", *drawing] if drawing else []
    work.kit.mkdir(parents=True, exist_ok=True)
    (work.kit / KIT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _slerp_lines(chosen: Path) -> list[str]:
    """Say in TOML how slerp mixes, where that was chosen."""
    if not chosen.exists():
        return []
    settings = json.loads(chosen.read_text(encoding="utf-8"))
    return [f"{k} = {json.dumps(v)}" for k, v in settings.items() if k != "validation_acc_1"]


_DRAWING = (("path", "pipeline"), ("controlnet", "controlnet"), ("judge", "judge.safetensors"))
