"""Where a pipeline's models are: on the card for good, or only while they are at work."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from generation.families import TRANSFORMERS_MODELS
from generation.memory_plan import MemoryPlan, Offload
from generation.model_files import Models, Pipe


class Placement:
    """Moves the models of a pipeline as a plan says.

    Models that leave the card are moved by the hooks of diffusers and accelerate. The text encoders
    are not among them: pipelines are called with encoded prompts.
    """

    def __init__(self, models: Models, device: torch.device, plan: MemoryPlan | None) -> None:
        """Place the models; without a plan, all stay on the device."""
        self.device = device
        self.planned_bytes = None if plan is None else plan.peak_bytes
        self._plan = plan if plan is not None and plan.offload is not Offload.NONE else None
        self._hooked: Pipe | None = None
        self._by_layer: set[nn.Module] = set()
        encoders = (getattr(models.base, part) for part in TRANSFORMERS_MODELS[models.family])
        self._encoders: Sequence[nn.Module] = [one for one in encoders if one is not None]
        if self._plan is None:
            models.base.to(device)
            if models.control is not None:
                models.control.model.to(device)
            if models.finisher is not None:
                models.finisher.to(device)
        if plan is not None and plan.tiles:
            models.base.vae.enable_tiling()
            _halve_tiles(models.base.vae)
        if self._plan is not None:
            models.base.vae.enable_slicing()

    @property
    def is_fixed(self) -> bool:
        """Whether all models stay where they are."""
        return self._plan is None

    def place(self, model: nn.Module) -> None:
        """Place a model that was opened later."""
        if self._plan is None:
            model.to(self.device)

    @contextmanager
    def at_work(self, model: nn.Module) -> Generator[None, None, None]:
        """Have a model on the card for the time of a block, where it is not there for good."""
        if self._plan is not None:
            model.to(self.device)
        try:
            yield
        finally:
            if self._plan is not None:
                model.to("cpu")

    @property
    def loads_layers(self) -> bool:
        """Whether each layer is on the card only while it works."""
        return self._plan is not None and self._plan.offload is Offload.SEQUENTIAL

    @contextmanager
    def encoding_text(self) -> Generator[None, None, None]:
        """Have the text encoders where they work best, for the time of a block."""
        if self._plan is None or not self._plan.has_text_on_card:
            yield
            return
        self._move_encoders(self.device)
        try:
            yield
        finally:
            self._move_encoders(torch.device("cpu"))

    def prepare(self, pipe: Pipe) -> None:
        """Hook the models of the pipeline that runs next; they are shared with other pipelines."""
        if self._plan is None or pipe is self._hooked:
            return
        if self._plan.offload is Offload.MODEL:
            if self._hooked is not None:
                self._hooked.remove_all_hooks()
            pipe.enable_model_cpu_offload(device=self.device)
            self._hooked = pipe
        else:
            self._load_layers_when_called(pipe)

    def _load_layers_when_called(self, pipe: Pipe) -> None:
        from accelerate import cpu_offload

        for model in pipe.components.values():
            if isinstance(model, nn.Module) and model not in self._by_layer:
                self._by_layer.add(model)
                cpu_offload(
                    model, self.device, offload_buffers=bool(list(model.parameters(recurse=False)))
                )

    def _move_encoders(self, device: torch.device) -> None:
        for encoder in self._encoders:
            encoder.to(device)


def _halve_tiles(vae: Pipe) -> None:
    """Set tiles of half the native side, as whole ones save nothing at the native size."""
    vae.tile_sample_min_size //= 2
    vae.tile_latent_min_size //= 2
