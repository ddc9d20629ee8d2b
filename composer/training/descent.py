"""The core of every training loop: a step of AdamW, its moving average, its resumable state."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from composer.training.loop import Average, Stopwatch
from composer.training.state import (
    TrainingState,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)


class TrainingError(ValueError):
    """A run that cannot go on; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParameterGroup:
    """Parameters of one learning rate and weight decay."""

    parameters: Sequence[Tensor]
    rate: float
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DescentSettings:
    """How parameters descend.

    Attributes:
        betas: Of AdamW.
        max_gradient_norm: Gradients are clipped to it.
        average_decay: Of the moving average; None for none.
        is_fused: Whether AdamW runs as one kernel.
        skips_non_finite: Whether a step whose gradients are not finite changes nothing and is
            counted, in place of spoiling every tensor.
    """

    betas: tuple[float, float] = (0.9, 0.98)
    max_gradient_norm: float = 1.0
    average_decay: float | None = None
    is_fused: bool = False
    skips_non_finite: bool = False


class Descent:
    """Named tensors, the optimizer that changes them and their moving average.

    Attributes:
        parameters: The tensors that descend, by name.
        average: The moving average of all named tensors; None where the settings have none.
        num_steps: Steps so far, over all resumed runs.
        num_skipped: Those of them that changed nothing, as their gradients were not finite.
        watch: Training time so far, over all resumed runs.
    """

    def __init__(
        self,
        named: Mapping[str, Tensor],
        groups: Sequence[ParameterGroup],
        settings: DescentSettings,
    ) -> None:
        """Take what training changes.

        Args:
            named: Every tensor of the state, in place for the whole run; those without a gradient
                are averaged and saved as well.
            groups: Every tensor that descends, once.
            settings: Of optimizer and average.
        """
        self._named, self._settings = dict(named), settings
        self._rates = [group.rate for group in groups]
        self._optimizer = torch.optim.AdamW(
            [{"params": list(g.parameters), "weight_decay": g.weight_decay} for g in groups],
            betas=settings.betas,
            fused=settings.is_fused or None,
        )
        self.parameters = {name: p for name, p in self._named.items() if p.requires_grad}
        decay = settings.average_decay
        self.average = None if decay is None else Average(self._named, decay)
        self.num_steps = self.num_skipped = 0
        self.watch = Stopwatch()

    def step(
        self,
        total: Tensor,
        factor: float,
        *,
        backward: Callable[[Tensor], object] = Tensor.backward,
        synchronise: Callable[[], object] | None = None,
    ) -> None:
        """Descend a loss by one step.

        Args:
            total: The loss.
            factor: Share of every group's rate.
            backward: How gradients are computed.
            synchronise: Called between gradients and their clipping, to share them.
        """
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.zero_grad(set_to_none=True)
        backward(total)
        if synchronise is not None:
            synchronise()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self._settings.max_gradient_norm)
        if self._settings.skips_non_finite and not bool(torch.isfinite(norm)):
            self.num_skipped += 1
        else:
            self._optimizer.step()
            if self.average is not None:
                self.average.update(self._named, self.num_steps)
        self.num_steps += 1

    @torch.no_grad()
    def restart_from_average(self) -> None:
        """Go on from the averaged tensors, without the optimizer's memory."""
        assert self.average is not None
        for name, tensor in self._named.items():
            tensor.copy_(self.average.tensors[name])
        self._optimizer.state.clear()

    def save(self, folder: Path, **counters: object) -> None:
        """Write the resumable state, atomically.

        Args:
            folder: The folder of the state.
            counters: What else to keep beside those of `state`; values of JSON.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_state(folder, self.state(**counters))

    def state(self, **counters: object) -> TrainingState:
        """Return what `restore` needs, with further counters; its tensors are those in use."""
        tensors = {f"model.{name}": tensor for name, tensor in self._named.items()}
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in self.average.tensors.items()}
        tensors |= optimizer_tensors(self._optimizer, self._names)
        base = {"step": self.num_steps, "elapsed_s": self.watch.elapsed_s}
        base["num_skipped"] = self.num_skipped
        return TrainingState(tensors=tensors, counters={**base, **counters})

    def restore(self, state: TrainingState, folder: Path) -> None:
        """Go on from a state that `save` wrote.

        Args:
            state: What `load_state` read.
            folder: Where it was read from, for the error.

        Raises:
            TrainingError: It belongs to a model of another shape.
        """
        kinds: dict[str, dict[str, Tensor]] = {"model": self._named}
        if self.average is not None:
            kinds["average"] = self.average.tensors
        live = {f"{kind}.{n}": t for kind, named in kinds.items() for n, t in named.items()}
        saved = {n: t for n, t in state.tensors.items() if not n.startswith("optimizer.")}
        if {n: t.shape for n, t in saved.items()} != {n: t.shape for n, t in live.items()}:
            raise TrainingError(
                f"The state in {folder} belongs to a model of another shape; "
                "delete the folder to start afresh."
            )
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(saved[name])
        restore_optimizer(self._optimizer, self._names, state.tensors)
        self.num_steps = int(state.counters["step"])
        self.num_skipped = int(state.counters.get("num_skipped", 0))
        self.watch = Stopwatch(before_s=float(state.counters["elapsed_s"]))

    @property
    def _names(self) -> dict[Tensor, str]:
        return {p: name for name, p in self.parameters.items()}
