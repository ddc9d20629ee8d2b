"""Compilation of a denoiser's repeated blocks, one set of shapes after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

REGIONS: Final = frozenset({"BasicTransformerBlock", "ResnetBlock2D", "JointTransformerBlock"})
MAX_VARIANTS: Final = 64
"""Shapes of one kind of block, over all sizes of images; SD 1.5's UNet has 14 at one size."""

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """The arguments of a block, tensors by their shapes."""

    block: nn.Module
    arguments: Any


def compile_fixed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for the shapes of the first call; others are compiled again."""
    return torch.compile(forward, dynamic=False)


class CompiledRegions:
    """Blocks that run compiled for the sizes that were warmed up, and as they are for all others.

    A request never waits for the compiler: the first of a size runs as it is and shows the shapes,
    `warm_up` compiles for them, in another thread if need be.
    """

    def __init__(self, models: Sequence[nn.Module], compile_block: Compile = compile_fixed) -> None:
        """Find the blocks; nothing is compiled yet."""
        blocks = [
            module
            for model in models
            for module in model.modules()
            if type(module).__name__ in REGIONS
        ]
        self._compiled: Mapping[nn.Module, Callable[..., Any]] = {
            block: compile_block(block.forward) for block in blocks
        }
        self._calls: dict[object, list[_Call]] = {}
        self._warm: set[object] = set()
        self._hooks: list[Any] = []
        self._is_on = False
        self.problem: str | None = None

    @property
    def waiting(self) -> tuple[object, ...]:
        """Sizes that were seen and not compiled for."""
        return () if self.problem else tuple(self._calls.keys() - self._warm)

    def begin(self, size: object) -> bool:
        """Begin a step of a size: compiled if that is warm, else observed once.

        Returns:
            Whether it is compiled.
        """
        self._switch(is_on=size in self._warm)
        if size in self._calls:
            return self._is_on
        calls = self._calls[size] = []
        self._hooks = [
            block.register_forward_pre_hook(_observer(calls), with_kwargs=True)
            for block in self._compiled
        ]
        return False

    def end(self) -> None:
        """End a step."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def warm_up(self) -> None:
        """Compile for all sizes that wait; other threads may draw meanwhile.

        Where compilation fails, `problem` says why, and blocks run as they are.
        """
        from torch._dynamo import config as dynamo_config  # seconds, where nothing is compiled yet

        for size in self.waiting:
            limits = dynamo_config.patch(
                recompile_limit=MAX_VARIANTS, accumulated_recompile_limit=1024
            )
            try:
                with torch.inference_mode(), limits:
                    for call in self._calls[size]:
                        args, kwargs = pytree.tree_map(_materialise, call.arguments)
                        self._compiled[call.block](*args, **kwargs)
            except Exception as error:  # a compiler fails in ways of its own
                self.problem = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
                return
            self._warm.add(size)

    def pause(self) -> None:
        """Run all blocks as they are, until the next step begins."""
        self._switch(is_on=False)

    def remove(self) -> None:
        """Give the blocks back."""
        self.end()
        self._switch(is_on=False)

    def _switch(self, *, is_on: bool) -> None:
        if is_on is self._is_on:
            return
        for block, compiled in self._compiled.items():
            if is_on:
                block.forward = compiled
            else:
                del block.forward
        self._is_on = is_on


def _observer(calls: list[_Call]) -> Callable[..., None]:
    def observe(block: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        calls.append(_Call(block=block, arguments=pytree.tree_map(_shape_of, (args, kwargs))))

    return observe


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shape:
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _shape_of(leaf: object) -> object:
    if not isinstance(leaf, Tensor):
        return leaf
    return _Shape(size=leaf.shape, stride=leaf.stride(), dtype=leaf.dtype, device=leaf.device)


def _materialise(leaf: object) -> object:
    if not isinstance(leaf, _Shape):
        return leaf
    made = torch.empty_strided(leaf.size, leaf.stride, dtype=leaf.dtype, device=leaf.device)
    return made.zero_()
