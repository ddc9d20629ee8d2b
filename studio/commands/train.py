"""`duet train`: the stages of the mini kit, each a separate and resumable process."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from composer import names
from composer.training.encoder_run import PHOTO_HEAD_NAME
from studio.commands.options import TrainOptions
from studio.commands.shared import print_line
from studio.errors import UsageError
from studio.kit_contents import KIT_FILE
from studio.kits import load_kit

LICENCE = (
    "Weights made from EfficientNet-Lite0 and all-MiniLM-L6-v2 (Apache-2.0) and trained in part on "
    "research-only pictures (Sketchy, QMUL, PACS, Tiny-ImageNet, Flickr8k): for research and "
    "personal use; see NOTICE.md."
)
KNOWS = (
    "The mini kit searches everyday photos, drawings by people and its catalogue; it draws the "
    "catalogue's 16 kinds of objects."
)
CONFIDENCE_SUFFIX = ".confidence.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
DOMAINS = ("watercolour", "pencil", "cartoon", "clay", "low-poly", "night", "blueprint")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """Folders and budget of a training.

    Attributes:
        kit: Folder of the finished kit.
        runs: Folder of resumable states.
        pack: Folder of the training pack.
        natural: Folder of the natural training archives; None for what is trained on the pack
            alone.
        budget: "cpu" or "gpu".
        clip: The CLIP to train for; None for the one that an earlier stage trained.
    """

    kit: Path
    runs: Path
    pack: Path
    natural: Path | None
    budget: str
    clip: str | Path | None = None

    @property
    def student(self) -> Path:
        """The LoRA that draws in one step."""
        return self.runs / "one-step" / "lora" / LORA_FILE

    @property
    def fast_kit(self) -> Path:
        """Folder of the kit that draws in one step."""
        return self.kit.with_name(f"{self.kit.name}-fast")


@dataclass(frozen=True, kw_only=True, slots=True)
class KitStage:
    """A stage: its module and its arguments."""

    module: str
    arguments: Callable[[TrainingJob], Sequence[str | Path]]


def _photos(job: TrainingJob) -> Sequence[str | Path]:
    return [_bank(job), "--data", job.pack, "--natural", _natural(job)]


def _encoder(job: TrainingJob) -> Sequence[str | Path]:
    work = ["--work", job.runs / "encoder", "--bank", _bank(job)]
    return ["--natural", _natural(job), *work]


def _words(job: TrainingJob) -> Sequence[str | Path]:
    head = job.runs / "encoder" / PHOTO_HEAD_NAME
    pictures = ["--bank", _bank(job), "--head", head, "--natural", _natural(job)]
    return [job.runs / "words", "--data", job.pack, *pictures]


def _clip(job: TrainingJob) -> Sequence[str | Path]:
    text = job.runs / "words" / "text"
    return [*_encoder(job), "--text", text, "--output", job.kit / "clip"]


def _bank(job: TrainingJob) -> Path:
    return job.runs / "photos.safetensors"


def _natural(job: TrainingJob) -> Path:
    if job.natural is None:
        raise UsageError(
            "The encoder and its words are trained on the natural archives: name their folder "
            "with --natural DIR."
        )
    return job.natural


def _composer(name: str) -> "KitStage":
    """Return the stage that trains a composer, or the kit's converter."""

    def arguments(job: TrainingJob) -> Sequence[str | Path]:
        natural: list[str | Path] = ["--natural", job.natural] if job.natural else []
        clip = job.kit / "clip" if job.clip is None else job.clip
        files: list[str | Path] = ["--data", job.pack, "--clip", clip, "--state", job.runs / name]
        files += ["--output", _composer_file(job.kit, name), "--logs", job.runs / "logs"]
        files += ["--features", job.runs / "features"]
        return [name, *files, *natural, "--minutes", COMPOSER_MINUTES[name][job.budget]]

    return KitStage(module="composer.training.run", arguments=arguments)


def _slerp(job: TrainingJob) -> Sequence[str | Path]:
    return ["--data", job.pack, "--kit", job.kit, "--output", job.runs / "slerp.json"]


def _confidence(job: TrainingJob) -> Sequence[str | Path]:
    weights = _composer_file(job.kit, names.DUET)
    natural: list[str | Path] = ["--natural", job.natural] if job.natural else []
    return [
        *natural,
        *("--data", job.pack, "--clip", job.kit / "clip", "--weights", weights),
        *("--output", weights.with_suffix(CONFIDENCE_SUFFIX)),
    ]


def _image(job: TrainingJob) -> Sequence[str | Path]:
    return ["--data", job.pack, "--out", job.runs, "--budget", job.budget]


def _feature_judge(job: TrainingJob) -> Sequence[str | Path]:
    return ["--data", job.pack, "--output", job.kit / "feature_judge.safetensors"]


def _image_with_sources(job: TrainingJob) -> Sequence[str | Path]:
    duet = _composer_file(job.kit, names.DUET)
    return [*_image(job), "--clip", job.kit / "clip", "--duet", duet]


COMPOSER_MINUTES = {
    names.CONVERTER: {"cpu": "8", "gpu": "1"},
    names.DUET: {"cpu": "30", "gpu": "5"},
    names.MODALITY: {"cpu": "15", "gpu": "2"},
    names.PROMPTED: {"cpu": "15", "gpu": "2"},
    names.PROMPTED_CATEGORY: {"cpu": "10", "gpu": "2"},
    **{name: {"cpu": "15", "gpu": "2"} for name in names.SENTENCES},
}
COMPOSER_STAGES = {name: _composer(name) for name in COMPOSER_MINUTES}
STAGES: dict[str, KitStage] = {
    "photos": KitStage(module="composer.training.words.see", arguments=_photos),
    "encoder": KitStage(module="composer.training.encoder_run", arguments=_encoder),
    "words": KitStage(module="composer.training.words.run", arguments=_words),
    "clip": KitStage(module="composer.training.encoder_run", arguments=_clip),
    **COMPOSER_STAGES,
    names.SLERP: KitStage(module="composer.training.slerp", arguments=_slerp),
    "confidence": KitStage(module="retrieval.calibrate", arguments=_confidence),
    "autoencoder": KitStage(module="generation.training.autoencoder", arguments=_image),
    "pictures": KitStage(module="generation.training.pictures", arguments=_image_with_sources),
    "one-step": KitStage(module="generation.training.one_step", arguments=_image_with_sources),
    "judge": KitStage(module="generation.training.judge", arguments=_image),
    "feature-judge": KitStage(module="generation.training.feature_judge", arguments=_feature_judge),
}


def run(options: TrainOptions) -> int:
    """Run one stage, or all in order, then assemble the kit.

    Raises:
        UsageError: There is no training pack, a stage failed, or the composer cannot be trained.
    """
    stages = _stages(options)
    kit = None if options.kit_name is None else load_kit(options.kit_name)
    job = TrainingJob(
        kit=options.out / "kit" if kit is None else kit.folder,
        runs=options.out / "runs",
        pack=options.pack,
        natural=options.natural,
        budget=options.budget,
        clip=None if kit is None else kit.backbone,
    )
    if not any(job.pack.glob("images-*.parquet")):
        raise UsageError(
            f"{job.pack} contains no training pack. Make it with: "
            f"python -m assets.catalogue pack --out {job.pack}"
        )
    for name in stages:
        print_line(f"stage {name}")
        _run_stage(STAGES[name], job)
    if kit is None:
        write_kit(job)
        print_line(f"The kit is {job.kit}.")
    else:
        # The kit.toml of an existing kit is its author's to edit.
        print_line(f"{_composer_file(kit.folder, stages[0])} is trained; add it to {KIT_FILE}.")
    return 0


def _stages(options: TrainOptions) -> list[str]:
    """Return the names of the stages to run."""
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


def _run_stage(stage: KitStage, job: TrainingJob) -> None:
    command = [sys.executable, "-m", stage.module, *map(str, stage.arguments(job))]
    if subprocess.run(command, check=False).returncode:
        raise UsageError(f"The stage {stage.module} failed; run the command again to resume it.")


def write_kit(job: TrainingJob) -> None:
    """Copy the outputs of finished stages into the kit and write its `kit.toml`.

    The student that draws in one step becomes a kit of its own beside it, based on it, and
    finishes what the kit begins.
    """
    pictures = job.runs / "pictures"
    for name in ("pipeline", "controlnet"):
        if (pictures / name).is_dir():
            shutil.copytree(pictures / name, job.kit / name, dirs_exist_ok=True)
    judge = job.runs / "judge" / "judge.safetensors"
    if judge.exists():
        shutil.copy2(judge, job.kit / judge.name)
    lines = _head(job)
    lines += ["", "[backbone]", 'path = "clip"']
    composers = job.kit / "composers"
    if (composers / "converter.safetensors").exists():
        lines += ["", "[converter]", 'weights = "composers/converter.safetensors"']
    for name in COMPOSER_STAGES:
        if name != "converter" and (composers / f"{name}.safetensors").exists():
            lines += ["", f"[composers.{name}]", f'weights = "composers/{name}.safetensors"']
            if (composers / f"{name}{CONFIDENCE_SUFFIX}").exists():
                lines.append(f'confidence = "composers/{name}{CONFIDENCE_SUFFIX}"')
    lines += ["", "[composers.inversion]", "num_tokens = 4"]
    for name in _TRAINING_FREE:
        lines += ["", f"[composers.{name}]"]
    lines += ["", "[composers.slerp]"]
    if (composers / "duet.safetensors").exists():
        lines += ['weights = "composers/duet.safetensors"', *_slerp_lines(job.runs / "slerp.json")]
    lines += _drawing_lines(job)
    job.kit.mkdir(parents=True, exist_ok=True)
    (job.kit / KIT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_fast_kit(job)


def _head(job: TrainingJob) -> list[str]:
    """Return the lines above the tables."""
    fields = {"name": "mini", "licence": LICENCE, "knows": KNOWS, "domains": DOMAINS}
    if job.student.exists():
        fields["fast"] = f"../{job.fast_kit.name}"
    return [f"{name} = {json.dumps(value)}" for name, value in fields.items()]


def _drawing_lines(job: TrainingJob) -> list[str]:
    """Return what the kit draws with and how, as TOML, as far as it was trained."""
    parts = [f'{key} = "{name}"' for key, name in _DRAWING if (job.kit / name).exists()]
    if not parts:
        return []
    lines = ["", "[pipeline]", *parts, "", "[drawing]", *_STEPS]
    if job.student.exists():
        student = json.dumps(f"../{job.fast_kit.name}/{_STUDENT}")
        lines += ["finish_noise = 0.5", "", "[finish]", f"path = {student}"]
    return lines


def _write_fast_kit(job: TrainingJob) -> None:
    if not job.student.exists():
        return
    job.fast_kit.mkdir(exist_ok=True)
    shutil.copy2(job.student, job.fast_kit / _STUDENT)
    base = json.dumps(f"../{job.kit.name}")
    text = _FAST_KIT.format(base=base, licence=json.dumps(LICENCE))
    (job.fast_kit / KIT_FILE).write_text(text, encoding="utf-8")


_STUDENT = "one_step.safetensors"
_FAST_KIT = """\
base = {base}
name = "mini-fast"
licence = {licence}
knows = "The kit mini-fast is mini in one step: faster, with less detail."

[loras.one-step]
path = "one_step.safetensors"

[drawing]
num_inference_steps = 1
num_transfer_steps = 5
guidance_scale = 1.0
finish_noise = 0.0
"""


def _slerp_lines(file: Path) -> list[str]:
    """Return the settings of slerp as TOML, if its stage has run."""
    if not file.exists():
        return []
    settings = json.loads(file.read_text(encoding="utf-8"))
    return [f"{k} = {json.dumps(v)}" for k, v in settings.items() if k != "validation_acc_1"]


_TRAINING_FREE = (names.BASIC, names.FREEDOM, names.PRODUCT)
_STEPS = ("num_inference_steps = 10", "num_transfer_steps = 16")
_DRAWING = (
    ("path", "pipeline"),
    ("controlnet", "controlnet"),
    ("judge", "judge.safetensors"),
    ("feature_judge", "feature_judge.safetensors"),
)
