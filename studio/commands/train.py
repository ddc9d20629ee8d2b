"""`duet train`: the stages of the mini kit, each a process of its own, each resumable."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.commands.options import TrainOptions
from studio.commands.shared import print_line
from studio.errors import UsageError
from studio.kits import KIT_FILE, load_kit

LICENCE = (
    "Weights trained in part on research-only pictures (Sketchy, QMUL, PACS, Tiny-ImageNet, "
    "Flickr8k): for research and personal use; see NOTICE.md."
)
KNOWS = (
    "The mini kit knows the small world of its catalogue well and everyday photos only a little; "
    "expect rough results on pictures of your own."
)
CONFIDENCE_SUFFIX = ".confidence.json"
DOMAINS = ("watercolour", "pencil", "cartoon", "clay", "low-poly", "night", "blueprint")


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Where a training reads and writes.

    `kit` is the finished kit's folder, `runs` holds resumable states; `clip` is named where it is
    not the one that the stage before made.
    """

    kit: Path
    runs: Path
    pack: Path
    natural: Path | None
    budget: str
    clip: str | Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage: its module and what it is told."""

    module: str
    arguments: Callable[[Work], Sequence[str | Path]]


def _clip(work: Work) -> Sequence[str | Path]:
    natural: list[str | Path] = ["--natural", work.natural] if work.natural else []
    told: list[str | Path] = ["--out", work.kit / "clip", "--state", work.runs / "clip"]
    return [*told, "--budget", work.budget, *natural]


def _composer(name: str) -> "Stage":
    """Return the stage that trains a composer, or the kit's converter."""

    def told(work: Work) -> Sequence[str | Path]:
        natural: list[str | Path] = ["--natural", work.natural] if work.natural else []
        clip = work.kit / "clip" if work.clip is None else work.clip
        where: list[str | Path] = ["--clip", clip, "--state", work.runs / name]
        where += ["--output", _composer_file(work.kit, name), "--logs", work.runs / "logs"]
        return [name, *where, *natural, "--minutes", COMPOSER_MINUTES[name][work.budget]]

    return Stage(module="composer.training.run", arguments=told)


def _slerp(work: Work) -> Sequence[str | Path]:
    return ["--kit", work.kit, "--output", work.runs / "slerp.json"]


def _confidence(work: Work) -> Sequence[str | Path]:
    weights = _composer_file(work.kit, "duet")
    return [
        *("--clip", work.kit / "clip", "--weights", weights),
        *("--output", weights.with_suffix(CONFIDENCE_SUFFIX)),
    ]


def _image(work: Work) -> Sequence[str | Path]:
    return ["--out", work.runs, "--budget", work.budget]


def _image_with_sources(work: Work) -> Sequence[str | Path]:
    duet = work.kit / "composers" / "duet.safetensors"
    return [*_image(work), "--clip", work.kit / "clip", "--duet", duet]


COMPOSER_MINUTES = {
    "converter": {"cpu": "8", "gpu": "1"},
    "duet": {"cpu": "30", "gpu": "5"},
    "modality": {"cpu": "15", "gpu": "2"},
    "prompted": {"cpu": "15", "gpu": "2"},
    "prompted-category": {"cpu": "10", "gpu": "2"},
    "sentence": {"cpu": "15", "gpu": "2"},
    "sentence-small": {"cpu": "15", "gpu": "2"},
    "sentence-medium": {"cpu": "15", "gpu": "2"},
    "sentence-large": {"cpu": "15", "gpu": "2"},
    "sentence-symmetric": {"cpu": "15", "gpu": "2"},
}
COMPOSER_STAGES = {name: _composer(name) for name in COMPOSER_MINUTES}
STAGES: dict[str, Stage] = {
    "clip": Stage(module="composer.training.clip", arguments=_clip),
    **COMPOSER_STAGES,
    "slerp": Stage(module="composer.training.slerp", arguments=_slerp),
    "confidence": Stage(module="retrieval.calibrate", arguments=_confidence),
    "autoencoder": Stage(module="generation.training.autoencoder", arguments=_image),
    "diffusion": Stage(module="generation.training.diffusion", arguments=_image_with_sources),
    "control": Stage(module="generation.training.control", arguments=_image_with_sources),
    "judge": Stage(module="generation.training.judge", arguments=_image),
}


def run(options: TrainOptions) -> int:
    """Run one stage, or all in order, then put the kit together.

    Raises:
        UsageError: There is no training pack, a stage failed, or no composer of that name trains.
    """
    names = _names(options)
    kit = None if options.kit_name is None else load_kit(options.kit_name)
    work = Work(
        kit=options.out / "kit" if kit is None else kit.folder,
        runs=options.out / "runs",
        pack=options.pack,
        natural=options.natural,
        budget=options.budget,
        clip=None if kit is None else kit.backbone,
    )
    if not any(work.pack.glob("images-*.parquet")):
        raise UsageError(
            f"{work.pack} holds no training pack. Make it with: "
            f"python -m assets.catalogue pack --out {work.pack}"
        )
    for name in names:
        print_line(f"stage {name}")
        _run_stage(STAGES[name], work)
    if kit is None:
        write_kit(work)
        print_line(f"The kit is {work.kit}.")
    else:
        # A kit somebody wrote is theirs to edit.
        print_line(f"{_composer_file(kit.folder, names[0])} is trained; name it in {KIT_FILE}.")
    return 0


def _names(options: TrainOptions) -> list[str]:
    """Return the stages that are asked for."""
    if options.stage == "composer":
        if options.name is None or options.name not in COMPOSER_STAGES:
            known = ", ".join(COMPOSER_STAGES)
            raise UsageError(
                f"Name the composer to train: duet train composer NAME, one of {known}."
            )
        return [options.name]
    if options.name is not None:
        raise UsageError(f"Only `composer` takes a name; {options.name!r} was given as well.")
    if options.kit_name is not None:
        raise UsageError("Only `duet train composer NAME` trains for an existing kit.")
    return list(STAGES) if options.stage == "mini" else [options.stage]


def _composer_file(kit: Path, name: str) -> Path:
    return kit / "composers" / f"{name}.safetensors"


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
    lines += [f"domains = {json.dumps(DOMAINS)}", "", "[backbone]", 'path = "clip"']
    composers = work.kit / "composers"
    if (composers / "converter.safetensors").exists():
        lines += ["", "[converter]", 'weights = "composers/converter.safetensors"']
    for name in COMPOSER_STAGES:
        if name != "converter" and (composers / f"{name}.safetensors").exists():
            lines += ["", f"[composers.{name}]", f'weights = "composers/{name}.safetensors"']
            if (composers / f"{name}{CONFIDENCE_SUFFIX}").exists():
                lines.append(f'confidence = "composers/{name}{CONFIDENCE_SUFFIX}"')
    lines += ["", "[composers.inversion]", "num_tokens = 4", "", "[composers.slerp]"]
    if (composers / "duet.safetensors").exists():
        lines += ['weights = "composers/duet.safetensors"', *_slerp_lines(work.runs / "slerp.json")]
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
