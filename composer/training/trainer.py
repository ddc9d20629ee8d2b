"""Training loop of the composers: resumable, averaged, validated, stopped early, logged."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from composer.strategies.files import load_tensors
from composer.training.descent import Descent, DescentSettings, ParameterGroup, TrainingError
from composer.training.loop import Budget, EarlyStopping, fast_precision, progress_line
from composer.training.schedules import warmup_then_cosine
from composer.training.state import load_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """Settings of any run.

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
    """Result of a validation."""

    @property
    def score(self) -> float:
        """The number a run is selected by; higher is better."""
        ...

    def summary(self) -> str:
        """Return one line for the log and the file's notes."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """The losses of one step: each unweighted for the log, and the sum to descend."""

    terms: Mapping[str, Tensor]
    total: Tensor


S = TypeVar("S", bound=Scores)
R = TypeVar("R")


@runtime_checkable
class Frozen(Protocol):
    """What a run stands on: where it is, and a name that is another for another one."""

    @property
    def gallery_hash(self) -> str:
        """Sixteen hex digits."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its weights or features are."""
        ...


@runtime_checkable
class Objective(Protocol[S]):
    """Objective of a run: a model, its losses, its validation."""

    name: str

    @property
    def backbone(self) -> Frozen:
        """What is frozen, and no part of the state."""
        ...

    def trainable_state(self) -> dict[str, Tensor]:
        """Return all that training changes, under the names of the file."""
        ...

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every trained parameter, once."""
        ...

    def losses(self, step: int, draw: int) -> Losses:
        """Return the losses of a step, encoded in the accelerator's precision and summed in fp32.

        `draw` numbers the batch, differently on every process.
        """
        ...

    def validate(self) -> S:
        """Score the model as it is, on the validation split alone."""
        ...

    def export(self, path: Path, scores: S, notes: dict[str, str]) -> None:
        """Write the composer's file."""
        ...


def make_accelerator(settings: RunSettings) -> Accelerator:
    """Choose device and precision: bf16 where the hardware has it."""
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
    """A run of an objective, which continues from its state folder.

    On several processes each draws its own batch and gradients are averaged.
    """

    def __init__(
        self, objective: Objective[S], settings: RunSettings, accelerator: Accelerator
    ) -> None:
        """Take the objective, and continue from the state where there is one.

        Raises:
            TrainingError: The state belongs to another backbone or another shape of model.
        """
        self.objective, self.settings = objective, settings
        self._accelerator = accelerator
        self._descent = Descent(
            objective.trainable_state(),
            objective.parameter_groups(),
            DescentSettings(
                max_gradient_norm=settings.clip_norm, average_decay=settings.average_decay
            ),
        )
        self._stopping = EarlyStopping(patience=settings.patience)
        self._resume()
        self._elapsed_s = self._descent.watch.before_s
        if settings.logs is not None:
            accelerator.init_trackers(objective.name)

    @property
    def step(self) -> int:
        """Steps so far, over all resumed runs."""
        return self._descent.num_steps

    def run(self) -> S:
        """Train to the end of the budget or of patience; return the last validation.

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
        """Make one step and return the unweighted losses.

        Raises:
            TrainingError: The loss is not finite.
        """
        factor = warmup_then_cosine(self._progress())
        accelerator = self._accelerator
        draw = self.step * accelerator.num_processes + accelerator.process_index
        losses = self.objective.losses(self.step, draw)
        terms = {name: float(value.detach()) for name, value in losses.terms.items()}
        if not bool(torch.isfinite(losses.total)):
            raise TrainingError(
                f"The loss of {self.objective.name} is not finite at step {self.step} ({terms}); "
                "lower the learning rate and run the command again to continue from the last state."
            )
        self._descent.step(
            losses.total,
            factor,
            backward=accelerator.backward,
            synchronise=self._average_gradients,
        )
        self._elapsed_s = self._common_time()
        return terms

    def validate(self) -> S:
        """Score the averaged weights on the validation split."""
        return self._with_average(self.objective.validate)

    def save(self) -> None:
        """Write the resumable state, atomically; on the first process alone."""
        if not self._accelerator.is_main_process:
            return
        self._descent.save(
            self.settings.state,
            elapsed_s=self._elapsed_s,
            best=self._stopping.best,
            num_stale=self._stopping.num_stale,
            gallery_hash=self.objective.backbone.gallery_hash,
        )

    def export(self, scores: S) -> None:
        """Write the averaged weights as the composer's file; on the first process alone."""
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
        average = self._descent.average
        assert average is not None
        live = self.objective.trainable_state()
        trained = {name: p.detach().clone() for name, p in live.items()}
        load_tensors(live, average.tensors)
        try:
            return act()
        finally:
            load_tensors(live, trained)

    def _average_gradients(self) -> None:
        if self._accelerator.num_processes > 1:
            for parameter in self._descent.parameters.values():
                # A term that is off leaves no gradient, on every process alike.
                if parameter.grad is not None:
                    mean: Any = self._accelerator.reduce(parameter.grad, "mean")
                    parameter.grad = mean

    def _progress(self) -> float:
        return self.settings.budget.progress(self.step, self._elapsed_s)

    def _is_done(self) -> bool:
        return self._progress() >= 1.0 or self._stopping.should_stop

    def _common_time(self) -> float:
        """Return the first process's clock, so that all of them end at the same step."""
        elapsed_s = self._descent.watch.elapsed_s
        if self._accelerator.num_processes == 1:
            return elapsed_s
        shared: Any = broadcast(torch.tensor(elapsed_s, device=self._accelerator.device))
        return float(shared)

    def _resume(self) -> None:
        state = load_state(self.settings.state)
        if state is None:
            return
        folder = self.settings.state
        if state.counters.get("gallery_hash") != self.objective.backbone.gallery_hash:
            raise TrainingError(
                f"The state in {folder} belongs to another backbone; "
                "delete the folder to start afresh."
            )
        self._descent.restore(state, folder)
        self._stopping.best = float(state.counters["best"])
        self._stopping.num_stale = int(state.counters["num_stale"])
