"""Keys and values of a prompt, computed once for all steps of an image."""

from typing import Any

import torch
from torch import Tensor, nn


class RememberingLinear(nn.Linear):
    """A linear layer that returns a stored result for the one input its memory holds.

    Made of an `nn.Linear` in place, so that the names of its weights stay.
    """

    memory: "TextMemory"
    results: dict[torch.Size, Tensor]

    @torch.compiler.disable
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  the decorator's type
        self, input: Tensor
    ) -> Tensor:
        """Return the stored result for the memory's states, and compute it for all else."""
        if input is self.memory.states:
            return self.results[input.shape]
        return super().forward(input)

    def store(self, states: Tensor) -> None:
        """Compute and store the result; a stored one of its shape is overwritten in place.

        Whoever recorded its address, as a CUDA graph does, then reads the new values.
        """
        result = self(states)  # through hooks that bring its weights
        if states.shape in self.results:
            self.results[states.shape].copy_(result)
        else:
            self.results[states.shape] = result


class TextMemory:
    """The key and value projections of a model's cross-attention.

    Exact: a result that is reused was computed by the same product as every step would compute.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take over the projections of all cross-attention whose keys come straight from words."""
        self.states: Tensor | None = None
        self._layers = [
            layer
            for module in model.modules()
            if getattr(module, "is_cross_attention", False)
            and not getattr(module, "norm_cross", None)
            for layer in _projections(module)
        ]
        for layer in self._layers:
            layer.__class__ = RememberingLinear
            layer.memory, layer.results = self, {}

    def fill(self, states: Tensor) -> None:
        """Compute keys and values of a prompt's states, unless they are those stored.

        Args:
            states: the object that the model is called with; an equal copy is another prompt.
        """
        if states is self.states:
            return
        self.states = None
        for layer in self._layers:
            layer.store(states)
        self.states = states

    def forget(self) -> None:
        """Forget the prompt, but not where results are stored."""
        self.states = None

    def clear(self) -> None:
        """Free the stored results."""
        self.states = None
        for layer in self._layers:
            layer.results.clear()

    def remove(self) -> None:
        """Give the layers back."""
        for layer in self._layers:
            del layer.memory, layer.results
            layer.__class__ = nn.Linear


def _projections(attention: Any) -> list[Any]:  # noqa: ANN401  an attention of diffusers
    """Return the layers of keys and values that are plain ones, as those of a LoRA are not."""
    layers = (attention.to_k, attention.to_v)
    return [layer for layer in layers if type(layer) is nn.Linear]
