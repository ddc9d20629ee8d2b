"""Models at full size with random weights, made cheaply, to measure time and memory with."""

import math
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)

# A prime, so that the rows of a matrix do not repeat.
_POOL_SIZE: Final = 4_194_301
_PATCHING = threading.Lock()
_REGISTER: Final = nn.Module.register_parameter
_KEPT: Final = frozenset({"logit_scale", "logit_bias"})


def make_random(build: Callable[[], Model], dtype: torch.dtype, *, seed: int = 0) -> Model:
    """Build a model whose weights are random, without its own slow initialisation.

    Matrices are normal with variance 1 / fan-in, norms 1 and biases 0, so that values stay finite
    in half precision. Cost: about a second per gigabyte.

    Args:
        build: Constructs the model; its parameters must not be read while it does.
        dtype: Precision of the weights; buffers keep theirs.
        seed: Decides the weights.

    Returns:
        The model on the CPU, in evaluation mode.
    """
    with _parameters_without_memory():
        model = build()
    pool = torch.randn(_POOL_SIZE, generator=torch.Generator().manual_seed(seed)).to(dtype)
    made: dict[int, nn.Parameter] = {}  # tied weights stay tied
    start = 0
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in made:
                value = _random(name, parameter, pool, start)
                made[id(parameter)] = nn.Parameter(value, requires_grad=False)
                start += value.numel()
            setattr(module, name, made[id(parameter)])
    return model.eval()


def count_parameters(build: Callable[[], nn.Module]) -> int:
    """Return the number of weights of a model, without making any."""
    with _parameters_without_memory():
        return sum(parameter.numel() for parameter in build().parameters())


@contextmanager
def _parameters_without_memory() -> Generator[None, None, None]:
    """Put parameters on the meta device as they are registered, where initialising costs nothing.

    Buffers are left alone, as their values matter, and so is what other threads construct.
    """
    register, owner = _REGISTER, threading.get_ident()

    def register_on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        is_ours = threading.get_ident() == owner
        if is_ours and param is not None and not param.is_meta:
            param = nn.Parameter(param.to("meta"), requires_grad=False)
        register(self, name, param)

    with _PATCHING:
        nn.Module.register_parameter = register_on_meta
        try:
            yield
        finally:
            nn.Module.register_parameter = register


def _random(name: str, like: Tensor, pool: Tensor, start: int) -> Tensor:
    value = torch.empty(like.shape, dtype=pool.dtype)
    if name in _KEPT:
        return value.fill_(math.log(1 / 0.07) if name == "logit_scale" else 0.0)
    if value.ndim == 1 and name.endswith("bias"):
        return value.zero_()
    if value.ndim == 1 and name.endswith("weight"):
        return value.fill_(1.0)
    _tile(value.view(-1), pool, start)
    fan_in = value.numel() // value.shape[0] if value.ndim > 1 else value.numel()
    return value.mul_(fan_in**-0.5)


def _tile(flat: Any, pool: Tensor, start: int) -> None:  # noqa: ANN401  a writable view
    """Fill a vector with the pool, again and again, from a position in it."""
    done, begin = 0, start % len(pool)
    while done < len(flat):
        piece = pool[begin : begin + len(flat) - done]
        flat[done : done + len(piece)] = piece
        done, begin = done + len(piece), 0
