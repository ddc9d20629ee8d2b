"""Steps of a denoiser recorded as CUDA graphs, one for each set of shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

NUM_WARM_UPS: Final = 2
MAX_GRAPHS: Final = 4

Step = Callable[[Any], Tensor]
"""A step: takes its arguments as one tree of tensors and other values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A recorded run: `replay` computes it again into `output`, from the tensors it ran on."""

    output: Tensor
    replay: Callable[[], None]


Record = Callable[[Callable[[], Tensor]], Recording]
"""Records a function without arguments, which reads tensors that stay where they are."""


def record_cuda_graph(run: Callable[[], Tensor]) -> Recording:
    """Record a function as a CUDA graph.

    Other threads may use the card meanwhile; they need not know of the capture.

    Source: PyTorch, "CUDA semantics: CUDA Graphs".
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(NUM_WARM_UPS):  # libraries set up workspaces in the first calls
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output = run()
    return Recording(output=output, replay=graph.replay)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """A recording, and the tensors that it reads."""

    recording: Recording
    inputs: list[Tensor]


class StepGraphs:
    """Recorded steps by the shapes, types and constants of their arguments."""

    def __init__(self, record: Record = record_cuda_graph) -> None:
        """Set how steps are recorded."""
        self._record = record
        self._entries: dict[object, _Entry] = {}
        self.problem: str | None = None

    @property
    def is_full(self) -> bool:
        """Whether another recording should wait until old ones are dropped."""
        return len(self._entries) >= MAX_GRAPHS

    def clear(self) -> None:
        """Drop all recordings and their memory."""
        self._entries.clear()

    def run(
        self,
        step: Step,
        call: object,
        *,
        variant: object,
    ) -> Tensor:
        """Run a step on arguments: recorded at the first call of a kind, replayed at others.

        Where recording fails, `problem` says why, and steps run as they are.

        Args:
            step: what is recorded.
            call: its arguments; tensors in it may change their values from call to call, all
                other values are part of the kind.
            variant: what else the recording depends on.

        Returns:
            The output, in memory of its own.
        """
        if self.problem is not None:
            return step(call)
        leaves, tree = pytree.tree_flatten(call)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = (tree, variant, *(_kind(leaf) for leaf in leaves))
        entry = self._entries.get(key)
        if entry is None:
            try:
                entry = self._new_entry(step, leaves, tree)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # nothing more specific says that a capture failed
                self.problem = str(error).splitlines()[0][:200]
                return step(call)
            self._entries[key] = entry
        for ours, theirs in zip(entry.inputs, tensors, strict=True):
            ours.copy_(theirs)
        entry.recording.replay()
        return entry.recording.output.clone()

    def _new_entry(self, step: Step, leaves: list[Any], tree: pytree.TreeSpec) -> _Entry:
        device = next(leaf.device for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim)
        fixed = [
            leaf.to(device, copy=True) if isinstance(leaf, Tensor) else leaf for leaf in leaves
        ]
        # The tree is built anew for each run, as models take lists apart.
        recording = self._record(lambda: step(pytree.tree_unflatten(fixed, tree)))
        inputs = [leaf for leaf in fixed if isinstance(leaf, Tensor)]
        return _Entry(recording=recording, inputs=inputs)


def _kind(leaf: object) -> object:
    if isinstance(leaf, Tensor):
        return (leaf.shape, leaf.dtype)
    return (type(leaf), leaf)
