"""Reuse of a UNet's deep features from one step in the next ones.

Source: Ma, Fang and Wang, "DeepCache: Accelerating Diffusion Models for Free", CVPR 2024, section
3: features below the first skip connection change little between steps. Ours reuses the output of
every block but the first down block and the last up block, at a uniform interval, and that of the
control network with them.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils import _pytree as pytree

from generation.model_folder import PipelineError


class DeepFeatures:
    """The deep blocks of a UNet, of which every interval's first step runs and the others reuse."""

    def __init__(self, unet: nn.Module, interval: int) -> None:
        """Take over the blocks.

        Raises:
            PipelineError: the model is no UNet with at least two levels.
        """
        down, up = getattr(unet, "down_blocks", ()), getattr(unet, "up_blocks", ())
        if len(down) < 2 or len(up) < 2:
            raise PipelineError(
                "`cache_interval` needs a UNet; this kit draws with another model. Set it to 1."
            )
        middle: Any = unet.get_submodule("mid_block")
        self._blocks = [*down[1:], middle, *up[:-1]]
        self._interval, self._step = interval, 0
        self.is_shallow = False
        self._size: object = None
        self._outputs: dict[object, Any] = {}
        for block in self._blocks:
            block.forward = self.reusing(block, block.forward)

    def start(self) -> None:
        """Begin an image: the next step is a full one."""
        self._step, self.is_shallow = 0, False

    def clear(self) -> None:
        """Free what full steps computed."""
        self._outputs.clear()

    def advance(self, size: object) -> None:
        """Begin a step of a size: the shapes, and which models run."""
        self._size = size
        self.is_shallow = self._step % self._interval != 0
        self._step += 1

    def reusing(self, key: object, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that computes at full steps, and returns that result at the others.

        Each result of a size stays in one place, as a recorded step reads it there.
        """

        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            slot = (key, self._size)
            if self.is_shallow:
                return self._outputs[slot]
            result = compute(*args, **kwargs)
            kept = self._outputs.setdefault(slot, result)
            if kept is not result:
                pairs = zip(pytree.tree_leaves(kept), pytree.tree_leaves(result), strict=True)
                for ours, theirs in pairs:
                    ours.copy_(theirs)
            return result

        return run

    def remove(self) -> None:
        """Give the blocks back."""
        for block in self._blocks:
            del block.forward
