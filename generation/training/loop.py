"""The training loop of all stages: resumable, deterministic from a seed, averaged weights."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from composer.training.descent import Descent, DescentSettings, ParameterGroup
from composer.training.loop import Budget, fast_precision, progress_line
from composer.training.schedules import warmup_hold_cosine
from composer.training.state import TrainingState, load_state, save_state

Log = Callable[[str], None]
_CRITIC = "critic."


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLoss:
    """The loss that a step minimises, and its parts for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]


@runtime_checkable
class TrainingStage(Protocol):
    """A module and its loss."""

    @property
    def name(self) -> str:
        """Name in the log and of the folder."""
        ...

    @property
    def module(self) -> nn.Module:
        """The module; its parameters that require a gradient are trained."""
        ...

    def loss(self, generator: torch.Generator) -> StepLoss:
        """Draw a batch with the generator and compute its loss; runs under autocast."""
        ...


@runtime_checkable
class StageWithCritic(TrainingStage, Protocol):
    """A stage whose loss also trains a critic, which resumes as the module does."""

    @property
    def critic_descent(self) -> Descent:
        """The critic's own steps; the stage makes them."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimisation:
    """How a stage is optimised.

    Attributes:
        batch_size: pictures per step.
        learning_rate: AdamW's rate between warm-up and decay.
        betas: betas of AdamW.
        weight_decay: weight decay of AdamW.
        num_warmup_steps: linear warm-up.
        decay_share: last share of the run over which the rate falls to zero.
        average_decay: decay of the averaged weights.
        max_gradient_norm: gradients are clipped to it.
        seed: it and the number of the step determine every batch.
        save_every_s: seconds between states on disk.
        log_every: steps between log lines.
        check_every_s: seconds between checks, of runs that have one.
        skips_non_finite: whether a step whose gradients are not finite changes nothing.
        channels_last: layout of the weights while they are trained.
    """

    batch_size: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    num_warmup_steps: int = 200
    decay_share: float = 0.3
    average_decay: float = 0.999
    max_gradient_norm: float = 1.0
    seed: int = 0
    save_every_s: float = 120.0
    log_every: int = 50
    check_every_s: float = 1200.0
    skips_non_finite: bool = False
    channels_last: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Where and how long a stage runs.

    Attributes:
        folder: takes the state, pictures and results.
        budget: steps or minutes; with minutes the result depends on the machine's speed.
        device: device of the training.
        log: called with each line of the log.
    """

    folder: Path
    budget: Budget
    device: torch.device
    log: Log

    @property
    def state_folder(self) -> Path:
        """Folder of the state that a killed run resumes from."""
        return self.folder / "state"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """What a run did.

    Attributes:
        num_steps: steps made, over all resumed runs.
        elapsed_s: seconds of training, over all resumed runs.
        last_losses: loss of each step of this process, oldest first.
    """

    num_steps: int
    elapsed_s: float
    last_losses: tuple[float, ...]

    @property
    def recent_loss(self) -> float | None:
        """Mean loss of the last 200 steps; None where this process made no step."""
        recent = self.last_losses[-200:]
        return sum(recent) / len(recent) if recent else None


def train(
    stage: TrainingStage,
    optimisation: Optimisation,
    run: Run,
    check: Callable[[], object] | None = None,
) -> TrainingResult:
    """Train a stage to the end of its budget; its module then holds the averaged weights.

    A run that was killed resumes from its last state and ends with exactly the weights of an
    uninterrupted one (on one device, with a budget in steps).

    Args:
        stage: what is trained.
        optimisation: rates and schedule.
        run: where and how long.
        check: called every `check_every_s` seconds while the module holds the averaged weights.
    """
    trainer = _Trainer(stage, optimisation, run, check)
    trainer.resume()
    while (progress := trainer.progress) < 1.0:
        trainer.step(progress)
    trainer.save()
    trainer.load_average()
    return TrainingResult(
        num_steps=trainer.num_steps,
        elapsed_s=trainer.elapsed_s,
        last_losses=tuple(trainer.losses),
    )


def progress_of(run: Run) -> TrainingResult:
    """Return what a run has done so far, by its state on disk; zero steps without one."""
    state = load_state(run.state_folder)
    counters = state.counters if state else {"step": 0, "elapsed_s": 0.0}
    return TrainingResult(
        num_steps=int(counters["step"]),
        elapsed_s=float(counters["elapsed_s"]),
        last_losses=(),
    )


def step_generator(seed: int, step: int) -> torch.Generator:
    """Make the generator of a step, so that a state need not hold one."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


class _Trainer:
    def __init__(
        self,
        stage: TrainingStage,
        optimisation: Optimisation,
        run: Run,
        check: Callable[[], object] | None = None,
    ) -> None:
        self.stage, self.optimisation, self.run = stage, optimisation, run
        self.check = check
        stage.module.to(run.device)
        if optimisation.channels_last:  # convolutions are a fifth faster
            _lay_out(stage.module, torch.channels_last)
        named: dict[str, Tensor] = {
            name: p for name, p in stage.module.named_parameters() if p.requires_grad
        }
        group = ParameterGroup(
            parameters=list(named.values()),
            rate=optimisation.learning_rate,
            weight_decay=optimisation.weight_decay,
        )
        self.descent = Descent(
            named,
            [group],
            DescentSettings(
                betas=optimisation.betas,
                max_gradient_norm=optimisation.max_gradient_norm,
                average_decay=optimisation.average_decay,
                skips_non_finite=optimisation.skips_non_finite,
            ),
        )
        self.uses_bf16 = fast_precision(run.device) == "bf16"
        self.saved_s = self.checked_s = 0.0
        self.losses: list[float] = []

    @property
    def num_steps(self) -> int:
        return self.descent.num_steps

    @property
    def elapsed_s(self) -> float:
        return self.descent.watch.elapsed_s

    @property
    def progress(self) -> float:
        return self.run.budget.progress(self.num_steps, self.elapsed_s)

    def step(self, progress: float) -> None:
        settings = self.optimisation
        factor = warmup_hold_cosine(
            self.num_steps,
            progress,
            num_warmup_steps=settings.num_warmup_steps,
            decay_share=settings.decay_share,
        )
        self.stage.module.train()
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.uses_bf16):
            loss = self.stage.loss(step_generator(settings.seed, self.num_steps))
        self.descent.step(loss.total, factor)
        self._after_step(loss)

    def _after_step(self, loss: StepLoss) -> None:
        # Reading a loss waits for a GPU, so on a GPU only the logged losses are read.
        is_logged = self.num_steps % self.optimisation.log_every == 0
        if is_logged or self.run.device.type == "cpu":
            self.losses.append(float(loss.total.detach()))
        if is_logged:
            if not math.isfinite(self.losses[-1]):
                raise FloatingPointError(
                    f"The loss of {self.stage.name} is not finite at step {self.num_steps}. "
                    "Start again from an older state with a lower rate."
                )
            parts = " ".join(f"{name} {float(v.detach()):.4f}" for name, v in loss.parts.items())
            self.run.log(self._line(parts))
        if self.elapsed_s - self.saved_s >= self.optimisation.save_every_s:
            self.save()
        if self.check and self.elapsed_s - self.checked_s >= self.optimisation.check_every_s:
            self._check(self.check)

    @torch.no_grad()
    def _check(self, check: Callable[[], object]) -> None:
        average = self.descent.average
        assert average is not None
        trained = {name: p.clone() for name, p in self.descent.parameters.items()}
        self._load(average.tensors)
        self.stage.module.eval()
        check()
        self._load(trained)
        self.checked_s = self.elapsed_s

    @torch.no_grad()
    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self.descent.parameters.items():
            parameter.copy_(tensors[name])

    def _line(self, parts: str) -> str:
        elapsed_s = self.elapsed_s
        rate = f"{self.num_steps / max(elapsed_s, 1e-9):.2f} steps/s"
        name = self.stage.name
        return progress_line(name, self.num_steps, self.run.budget, elapsed_s, f"{parts} {rate}")

    def save(self) -> None:
        self.run.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self.stage, StageWithCritic):
            critic = self.stage.critic_descent.state()
            state = self.descent.state(critic=critic.counters)
            tensors = {f"{_CRITIC}{name}": tensor for name, tensor in critic.tensors.items()}
            state = replace(state, tensors={**state.tensors, **tensors})
        else:
            state = self.descent.state()
        save_state(self.run.state_folder, state)
        self.saved_s = self.elapsed_s

    def resume(self) -> None:
        state = load_state(self.run.state_folder)
        if state is None:
            return
        parts: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
        for name, tensor in state.tensors.items():
            parts[name.startswith(_CRITIC)][name.removeprefix(_CRITIC)] = tensor
        self.descent.restore(replace(state, tensors=parts[0]), self.run.state_folder)
        if isinstance(self.stage, StageWithCritic):
            critic = TrainingState(tensors=parts[1], counters=state.counters["critic"])
            self.stage.critic_descent.restore(critic, self.run.state_folder)
        self.saved_s = self.checked_s = self.elapsed_s
        self.run.log(f"{self.stage.name} resumes from step {self.num_steps}")

    def load_average(self) -> None:
        average = self.descent.average
        assert average is not None
        self._load(average.tensors)
        _lay_out(self.stage.module.eval(), torch.contiguous_format)  # the layout of files


def _lay_out(module: nn.Module, layout: torch.memory_format) -> None:
    module.to(memory_format=layout)  # type: ignore[call-overload]
