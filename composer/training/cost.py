"""Cost of a step of each training on a CLIP of any size: `python -m composer.training.cost`.

The backbone has random weights, so nothing is downloaded and nothing learnt; shapes, memory and
speed are those of trained weights.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from composer.clip_files import UNTRAINED
from composer.data.catalogue import CataloguePack
from composer.training.loop import Budget
from composer.training.run import TRAININGS, Sources
from composer.training.trainer import RunSettings, Trainer

PER_CLASS = 4
COMPOSERS = ("duet", "modality", "prompted", "sentence")
CHOICES = tuple(name for name in TRAININGS if name != "converter")  # trained on text alone
_MATRIX = {"cpu": 2048, "cuda": 8192}
_REPEATS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """One training on one machine.

    Attributes:
        composer: Its name; of duet, steps through the tower.
        backbone: Architecture.
        num_trainable: Parameters that are trained.
        num_samples: References of a step.
        seconds: Median of a step.
        samples_per_s: References a second.
        tflops: Teraflops a second, forwards and backwards.
        share_of_peak: The same as a share of what a large matrix product reaches in the same
            precision on the same machine.
        peak_gb: Most memory used: of the accelerator where there is one, else of the process.
    """

    composer: str
    backbone: str
    num_trainable: int
    num_samples: int
    seconds: float
    samples_per_s: float
    tflops: float
    share_of_peak: float
    peak_gb: float


def step_costs(
    architecture: str,
    data: Path,
    *,
    composers: Sequence[str] = COMPOSERS,
    num_samples: int = 48,
    num_steps: int = 3,
    device: str = "auto",
) -> Iterator[StepCost]:
    """Measure some steps of each training, after one step that counts operations.

    Args:
        architecture: As open_clip lists them, for example "ViT-L-14".
        data: Folder of the training pack.
        composers: Names of `TRAININGS`.
        num_samples: References of a step, in fours; fewer where the pack has fewer designs.
        num_steps: Steps that are timed.
        device: "cpu", "cuda" or "auto".

    Raises:
        ValueError: The architecture is not known, or the pack cannot be used.
    """
    designs = {sketch.design for sketch in CataloguePack.open(data).sketches}
    num_samples = min(num_samples, len(designs)) // PER_CLASS * PER_CLASS
    if num_samples == 0:
        raise ValueError(f"A step needs {PER_CLASS} references or more, and as many designs.")
    for name in composers:
        with tempfile.TemporaryDirectory() as folder:
            settings = RunSettings(
                output=Path(folder) / "composer.safetensors",
                state=Path(folder) / "state",
                budget=Budget(num_steps=num_steps + 1),
                device=device,
            )
            clip = f"{architecture}/{UNTRAINED}"
            sources = Sources(clip=clip, pack=data, num_samples=num_samples, is_cached=False)
            trainer = TRAININGS[name](sources, settings)
            yield _step_cost(trainer, name, architecture, num_samples, num_steps)


def _step_cost(
    trainer: Trainer[Any], name: str, architecture: str, num_samples: int, num_steps: int
) -> StepCost:
    device = trainer.objective.backbone.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with FlopCounterMode(display=False) as counter:
        trainer.train_step()
    seconds = _median_seconds(trainer.train_step, device, num_steps)
    trainable = trainer.objective.trainable_state().values()
    return StepCost(
        composer=name,
        backbone=architecture,
        num_trainable=sum(p.numel() for p in trainable if p.requires_grad),
        num_samples=num_samples,
        seconds=seconds,
        samples_per_s=num_samples / seconds,
        tflops=counter.get_total_flops() / seconds / 1e12,
        share_of_peak=counter.get_total_flops() / seconds / peak_flops(device),
        peak_gb=_peak_gb(device),
    )


def peak_flops(device: torch.device) -> float:
    """Return the operations a second of a large matrix product: bf16 on a GPU, else fp32."""
    side = _MATRIX[device.type]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    torch.mm(matrix, matrix)
    return 2 * side**3 / _median_seconds(lambda: torch.mm(matrix, matrix), device, _REPEATS)


def _median_seconds(act: Callable[[], object], device: torch.device, repeats: int) -> float:
    durations: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - started)
    return statistics.median(durations)


def _peak_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line of JSON for each training; return 2 for an error the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.cost")
    parser.add_argument("--architecture", default="ViT-L-14")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--composers", nargs="+", choices=CHOICES, default=COMPOSERS)
    parser.add_argument("--samples", type=int, default=48, help="references of a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    chosen = parser.parse_args(arguments)
    try:
        for cost in step_costs(
            chosen.architecture,
            chosen.data,
            composers=chosen.composers,
            num_samples=chosen.samples,
            num_steps=chosen.steps,
            device=chosen.device,
        ):
            sys.stdout.write(json.dumps(asdict(cost)) + "\n")
            sys.stdout.flush()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
