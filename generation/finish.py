"""The end of a drawing by another denoiser: where little noise is left, the picture at once.

The guided steps of a sampler settle what is drawn while there is much noise. A denoiser that was
taught to jump to the picture draws what is left sharper, in one step and without guidance.
"""

import copy
import functools
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from generation.families import DENOISER, Family
from generation.lora import LoraSource, merge_lora
from generation.model_folder import PipelineError

Resolve = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Computes what arguments of a denoiser defer."""
_FLOW = "flow_prediction"
_PER_SHARE = 1000  # time steps of a flow


def open_finisher(base: Any, family: Family, lora: LoraSource) -> nn.Module:  # noqa: ANN401
    """Copy the denoiser of a pipeline of diffusers and merge a LoRA into the copy.

    Raises:
        LoraError: it is for another model, or cannot be used.
        PipelineError: the pipeline's sampler follows no flow.
    """
    if base.scheduler.config.get("prediction_type") != _FLOW:
        raise PipelineError(
            f"A kit with [finish] needs a sampler whose `prediction_type` is {_FLOW}."
        )
    name = DENOISER[family]
    apart, finisher = copy.copy(base), copy.deepcopy(getattr(base, name))
    setattr(apart, name, finisher)
    merge_lora(apart, lora)
    return finisher


@contextmanager
def finishing(
    finisher: nn.Module,
    denoiser: nn.Module,
    scheduler: Any,  # noqa: ANN401  any of diffusers
    *,
    noise: float,
    is_guided: bool,
    resolve: Resolve = dict,
) -> Generator[None, None, None]:
    """Have a run of a pipeline finished in the first step with so little noise.

    The steps after it compute nothing and leave the picture as it is.

    Args:
        finisher: takes over from the denoiser.
        denoiser: of the pipeline; its `forward` is taken over for the time.
        scheduler: of this run alone.
        noise: share of noise, above 0 and at most 1.
        is_guided: whether the batch begins with a half that guidance leads away from.
        resolve: computes what the denoiser's arguments defer.
    """
    own, begin = denoiser.__dict__.get("forward"), denoiser.forward
    finished_at: list[float] = []

    def forward(sample: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if finished_at:
            return (torch.zeros_like(sample),)
        if float(timestep) > _PER_SHARE * noise + 0.5:  # some samplers round time steps
            return begin(sample, timestep, *args, **kwargs)
        finished_at.append(float(timestep))
        call = ((sample, timestep, *args), resolve(kwargs))
        copies = 2 if is_guided else 1
        some_args, some_kwargs = _last_rows(call, len(sample) // copies, len(sample))
        velocity = finisher(*some_args, **some_kwargs)[0]
        return (torch.cat([velocity] * copies),)  # no guidance

    @functools.wraps(scheduler.step)
    def step(velocity: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if not finished_at:
            return follow(velocity, timestep, sample, *args, **kwargs)
        if float(timestep) < finished_at[0]:
            return (sample,)
        share = scheduler.sigmas[scheduler.index_for_timestep(timestep)].to(sample)
        return (sample - share * velocity,)

    follow, scheduler.step, denoiser.forward = scheduler.step, step, forward
    try:
        yield
    finally:
        del denoiser.forward
        if own is not None:
            denoiser.forward = own


def _last_rows(value: Any, count: int, of: int) -> Any:  # noqa: ANN401  a tree of arguments
    """Return arguments with the last rows of each batch in them."""
    match value:
        case torch.Tensor() if value.ndim and len(value) == of:
            return value[of - count :]
        case tuple() | list():
            return tuple(_last_rows(one, count, of) for one in value)
        case dict():
            return {name: _last_rows(one, count, of) for name, one in value.items()}
        case _:
            return value
