"""The loop that trains any composer: resumable, averaged, validated, stopped early, logged."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from composer.backbone import Backbone
from composer.strategies.files import load_tensors
from composer.training.loop import (
    Average,
    Budget,
    EarlyStopping,
    Stopwatch,
    fast_precision,
    learning_rate_factor,
    progress_line,
)
from composer.training.state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """How a run goes, whatever it trains.

    Attributes:
        output: The composer's file; rewritten at every best validation score.
        state: Folder of the resumable state.
        logs: Folder for TensorBoard; None for none.
        budget: Steps or minutes.
        device: "cpu", "cuda" or "auto".
        average_decay: Of the moving average that is validated and saved; 0 for none.
        clip_norm: Largest norm of the gradient.
        validate_every: Steps between validations, each also saving the state.
        patience: Validations without a better score before the run stops.
        log_every: Steps between log lines.
        seed: Of every draw.
    """

    output: Path
    state: Path
    logs: Path | None = None
    budget: Budget = field(default_factory=lambda: Budget(minutes=20))
    device: str = "auto"
    average_decay: float = 0.995
    clip_norm: float = 1.0
    validate_every: int = 100
    patience: int = 8
    log_every: int = 20
    seed: int = 0


@runtime_checkable
class Scores(Protocol):
    """What a validation found."""

    @property
    def score(self) -> float:
        """The number a run is selected by; higher is better."""
        ...

    def summary(self) -> str:
        """One line for the log and the file's notes."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """The losses of one step: each unweighted for the log, and the sum to descend."""

    terms: Mapping[str, Tensor]
    total: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParameterGroup:
    """Parameters of one learning rate and weight decay."""

    parameters: Sequence[Tensor]
    rate: float
    weight_decay: float = 0.0


S = TypeVar("S", bound=Scores)
R = TypeVar("R")


@runtime_checkable
class Objective(Protocol[S]):
    """What a run trains: a model, its losses, its validation."""

    name: str
    backbone: Backbone

    def trainable_state(self) -> dict[str, Tensor]:
        """All that training changes, under the names of the file."""
        ...

    def parameter_groups(self) -> list[ParameterGroup]:
        """Every parameter that is descended, once."""
        ...

    def losses(self, step: int, draw: int) -> Losses:
        """The losses of a step, encoded in the accelerator's precision and summed in full.

        `draw` numbers the batch, differently on every process.
        """
        ...

    def validate(self) -> S:
        """Scores the model as it is, on the validation split alone."""
        ...

    def export(self, path: Path, scores: S, notes: dict[str, str]) -> None:
        """Writes the composer's file."""
        ...


class TrainingError(ValueError):
    """A run that cannot go on, and what to do."""


def make_accelerator(settings: RunSettings) -> Accelerator:
    """Chooses device and precision: bf16 where the hardware has it."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=fast_precision(torch.device(device)),
        log_with=None if settings.logs is None else "tensorboard",
        project_dir=None if settings.logs is None else str(settings.logs),
    )


class Trainer(Generic[S]):
    """A run: objective, optimizer, average, step. It resumes where its state folder left off.

    On several processes each draws its own batch and gradients are averaged.
    """

    def __init__(
        self, objective: Objective[S], settings: RunSettings, accelerator: Accelerator
    ) -> None:
        """Takes what to train, and goes on from the state where there is one.

        Raises:
            TrainingError: The state belongs to another backbone or another shape of model.
        """
        self.objective, self.settings = objective, settings
        self._accelerator = accelerator
        state = objective.trainable_state()
        self._names = {p: name for name, p in state.items() if p.requires_grad}
        self._groups = objective.parameter_groups()
        groups = [
            {"params": list(group.parameters), "weight_decay": group.weight_decay}
            for group in self._groups
        ]
        self._optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self._average = Average(state, settings.average_decay)
        self._stopping = EarlyStopping(patience=settings.patience)
        self.step = 0
        self._watch = Stopwatch()
        self._resume()
        self._elapsed_s = self._watch.before_s
        if settings.logs is not None:
            accelerator.init_trackers(objective.name)

    def run(self) -> S:
        """Trains to the end of the budget or of patience; returns the last validation.

        Raises:
            TrainingError: A loss is not finite; the last saved state and file stay as they are.
        """
        settings, name = self.settings, self.objective.name
        scores = self.validate()
        logger.info("%s before step %d: %s", name, self.step, scores.summary())
        while not self._is_done():
            terms = self.train_step()
            if self.step % settings.log_every == 0:
                parts = " ".join(f"{term} {value:.3f}" for term, value in terms.items())
                line = progress_line(name, self.step, settings.budget, self._elapsed_s, parts)
                logger.info("%s", line)
                self._accelerator.log(terms, step=self.step)
            if self.step % settings.validate_every == 0 or self._is_done():
                scores = self._check()
        self._accelerator.end_training()
        return scores

    def train_step(self) -> dict[str, float]:
        """One step; returns the unweighted losses.

        Raises:
            TrainingError: The loss is not finite.
        """
        factor = learning_rate_factor(self._progress())
        for group, chosen in zip(self._optimizer.param_groups, self._groups, strict=True):
            group["lr"] = chosen.rate * factor
        accelerator = self._accelerator
        draw = self.step * accelerator.num_processes + accelerator.process_index
        losses = self.objective.losses(self.step, draw)
        terms = {name: float(value.detach()) for name, value in losses.terms.items()}
        if not bool(torch.isfinite(losses.total)):
            raise TrainingError(
                f"The loss of {self.objective.name} is not finite at step {self.step} ({terms}); "
                "lower the learning rate and run the command again: it goes on from the last state."
            )
        self._optimizer.zero_grad(set_to_none=True)
        accelerator.backward(losses.total)
        self._average_gradients()
        accelerator.clip_grad_norm_(list(self._names), self.settings.clip_norm)
        self._optimizer.step()
        self._average.update(self.objective.trainable_state(), self.step)
        self.step += 1
        self._elapsed_s = self._common_time()
        return terms

    def validate(self) -> S:
        """Scores the averaged weights on the validation split."""
        return self._with_average(self.objective.validate)

    def save(self) -> None:
        """Writes the resumable state, atomically; on the first process alone."""
        if not self._accelerator.is_main_process:
            return
        state = self.objective.trainable_state()
        tensors = {f"model.{name}": p for name, p in state.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self._average.tensors.items()}
        tensors |= optimizer_tensors(self._optimizer, self._names)
        counters = {
            "step": self.step,
            "elapsed_s": self._elapsed_s,
            "best": self._stopping.best,
            "num_stale": self._stopping.num_stale,
            "gallery_hash": self.objective.backbone.gallery_hash,
        }
        self.settings.state.parent.mkdir(parents=True, exist_ok=True)
        save_state(self.settings.state, TrainingState(tensors=tensors, counters=counters))

    def export(self, scores: S) -> None:
        """Writes the averaged weights as the composer's file; on the first process alone."""
        if not self._accelerator.is_main_process:
            return
        output = self.settings.output
        output.parent.mkdir(parents=True, exist_ok=True)
        notes = {"steps": str(self.step), "validation": scores.summary()}
        self._with_average(lambda: self.objective.export(output, scores, notes))

    def _check(self) -> S:
        scores = self.validate()
        is_best = self._stopping.is_best(scores.score)
        mark = " (best)" if is_best else ""
        name = self.objective.name
        logger.info("%s validation at step %d: %s%s", name, self.step, scores.summary(), mark)
        self._accelerator.log({"validation": scores.score}, step=self.step)
        if is_best:
            self.export(scores)
        self.save()
        return scores

    def _with_average(self, act: Callable[[], R]) -> R:
        live = self.objective.trainable_state()
        own = {name: p.detach().clone() for name, p in live.items()}
        load_tensors(live, self._average.tensors)
        try:
            return act()
        finally:
            load_tensors(live, own)

    def _average_gradients(self) -> None:
        if self._accelerator.num_processes > 1:
            for parameter in self._names:
                # A term that is off leaves no gradient, on every process alike.
                if parameter.grad is not None:
                    mean: Any = self._accelerator.reduce(parameter.grad, "mean")
                    parameter.grad = mean

    def _progress(self) -> float:
        return self.settings.budget.progress(self.step, self._elapsed_s)

    def _is_done(self) -> bool:
        return self._progress() >= 1.0 or self._stopping.should_stop

    def _common_time(self) -> float:
        """The first process's clock, so that all of them end at the same step."""
        own = self._watch.elapsed_s
        if self._accelerator.num_processes == 1:
            return own
        shared: Any = broadcast(torch.tensor(own, device=self._accelerator.device))
        return float(shared)

    def _resume(self) -> None:
        state = load_state(self.settings.state)
        if state is None:
            return
        where, backbone = self.settings.state, self.objective.backbone
        if state.counters.get("gallery_hash") != backbone.gallery_hash:
            raise TrainingError(
                f"The state in {where} belongs to another backbone; "
                "delete the folder to start afresh."
            )
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}}
        for name, tensor in state.tensors.items():
            kind, _, rest = name.partition(".")
            if kind in groups:
                groups[kind][rest] = tensor.to(backbone.device)
        live = self.objective.trainable_state()
        if {n: t.shape for n, t in groups["model"].items()} != {
            n: t.shape for n, t in live.items()
        }:
            raise TrainingError(
                f"The state in {where} belongs to a model of another shape; "
                "delete the folder to start afresh."
            )
        load_tensors(live, groups["model"])
        self._average.tensors = groups["average"]
        restore_optimizer(self._optimizer, self._names, state.tensors)
        self.step = int(state.counters["step"])
        self._stopping.best = float(state.counters["best"])
        self._stopping.num_stale = int(state.counters["num_stale"])
        self._watch = Stopwatch(before_s=float(state.counters["elapsed_s"]))
