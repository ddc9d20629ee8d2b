"""Pipelines of diffusers over one set of models, and how they are called."""

from typing import TYPE_CHECKING, Any

from generation.controls import UNION_MODES, Control
from generation.families import (
    ABSENT_PARTS,
    CONTROL_ARGUMENT,
    PIPELINES,
    SHARED_PARTS,
    TRANSFORMERS_MODELS,
    UNION_PIPELINES,
    Family,
)
from generation.model_files import Pipe
from generation.placement import Placement
from generation.request import RequestError, Scheduler

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


class Pipes:
    """Pipelines of one family that share their models; each is made at first use."""

    def __init__(self, family: Family, base: Pipe, placement: Placement) -> None:
        """Take the text-to-image pipeline, whose models the others share."""
        self._family, self._base, self._placement = family, base, placement
        self._scheduler_config = dict(base.scheduler.config)
        self._scheduler_class = type(base.scheduler)
        self._pipes: dict[tuple[str, int | None], Pipe] = {}

    def get(self, control: Control | None, *, use_image: bool) -> Pipe:
        """Return the pipeline for a control network or none.

        Args:
            control: the network; an adapter of drawings needs no pipeline of its own.
            use_image: image-to-image.
        """
        import diffusers

        if control is not None and control.is_adapter:
            control = None  # a plain pipeline runs, whose UNet is added to
        name = PIPELINES[self._family][control is not None, use_image]
        if control is not None and control.is_union:
            name = UNION_PIPELINES[use_image]
        key = (name, None if control is None else id(control.model))
        if key not in self._pipes:
            extra = {} if control is None else {"controlnet": control.model}
            pipe = getattr(diffusers, name)(
                **{part: self._part(part) for part in SHARED_PARTS[self._family]},
                **ABSENT_PARTS[self._family],
                **extra,
            )
            pipe.set_progress_bar_config(disable=True)
            self._pipes[key] = pipe
        return self._pipes[key]

    def _part(self, name: str) -> Any:  # noqa: ANN401  a model of diffusers or transformers
        """Return a part of a pipeline; encoders stay out of one that moves its models."""
        if name in TRANSFORMERS_MODELS[self._family] and not self._placement.is_fixed:
            return None
        return getattr(self._base, name)

    def fresh_scheduler(self, scheduler: Scheduler) -> "SchedulerMixin":
        """Return a sampler with the kit's settings, in its first state.

        Raises:
            RequestError: it is of another family.
        """
        from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

        if scheduler is not Scheduler.KIT and self._family is Family.SD3:
            raise RequestError(f"This kit draws with its own sampler alone, not {scheduler}.")
        match scheduler:
            case Scheduler.KIT:
                kind: Any = self._scheduler_class
            case Scheduler.DPM:
                kind = DPMSolverMultistepScheduler
            case Scheduler.UNIPC:
                kind = UniPCMultistepScheduler
        return kind.from_config(self._scheduler_config)


def control_call(
    family: Family, control: Control, call: dict[str, Any], *, use_image: bool
) -> dict[str, Any]:
    """Name and shape the control images as the pipeline of a control network takes them.

    Args:
        family: of the pipeline.
        control: the network.
        call: arguments of the pipeline, with the images as `control_image`.
        use_image: image-to-image.
    """
    call = dict(call)
    images = call.pop("control_image")
    if control.is_union:
        return {**call, "control_image": [images], "control_mode": [UNION_MODES[control.kind]]}
    name = "control_image" if use_image else CONTROL_ARGUMENT[family]
    return {**call, name: images}
