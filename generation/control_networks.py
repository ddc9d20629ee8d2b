"""Control networks of a pipeline in memory, by name."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from generation.controls import Control, ControlKind, ControlSource
from generation.drawing_adapter import DrawingAdapter, adding
from generation.families import Family
from generation.model_files import Pipe, open_control
from generation.part_checks import check_control
from generation.request import RequestError

DEFAULT_CONTROL = ""
"""Name that stands for the kit's default control network."""


class ControlNetworks:
    """Control networks that are open, by name; a union network serves several names."""

    def __init__(self, family: Family, base: Pipe, default: Control | None) -> None:
        """Take the kit's default network, which fits the pipeline, or None."""
        self._family, self._base = family, base
        self._controls = {} if default is None else {DEFAULT_CONTROL: default}
        self._folders: dict[Path, Control] = {}
        self._adapters: dict[int, DrawingAdapter] = {}

    def __contains__(self, name: str) -> bool:
        """Whether a network of that name is open."""
        return name in self._controls

    @property
    def step_models(self) -> tuple[nn.Module, ...]:
        """The networks that run in each step, each once; adapters of drawings do not."""
        controls = [control for control in self._controls.values() if not control.is_adapter]
        return tuple({id(control.model): control.model for control in controls}.values())

    def model(self, name: str) -> nn.Module | None:
        """Return the network of a name; None where it is not open."""
        control = self._controls.get(name)
        return None if control is None else control.model

    def kind(self, name: str) -> ControlKind | None:
        """Return what a network follows; None where it is not open."""
        control = self._controls.get(name)
        return None if control is None else control.kind

    def require(self, name: str) -> Control:
        """Return a network.

        Raises:
            RequestError: it is not open.
        """
        if name not in self._controls:
            raise RequestError(
                "This kit has no control network. Set `controlnet_conditioning_scale` to 0."
                if name == DEFAULT_CONTROL
                else f"The control network {name!r} was not loaded."
            )
        return self._controls[name]

    def add(
        self,
        name: str,
        source: ControlSource,
        dtype: torch.dtype,
        prepare: Callable[[Control], None],
    ) -> None:
        """Open a further network, unless its folder is open already.

        Args:
            name: that requests have for it.
            source: its files.
            dtype: precision of its weights.
            prepare: what to do with one that was opened.

        Raises:
            PipelineError: a file is missing, damaged or not safetensors, or the network does not
                fit the pipeline.
        """
        loaded = self._folders.get(source.folder)
        if loaded is None:
            loaded = open_control(self._family, source, dtype)
            check_control(self._family, self._base, loaded)
            loaded.model.requires_grad_(False).eval()
            prepare(loaded)
            self._folders[source.folder] = loaded
        self._controls[name] = replace(loaded, kind=source.kind)

    def adding(
        self, control: Control, call: dict[str, Any], denoiser: nn.Module, *, use_image: bool
    ) -> AbstractContextManager[None]:
        """Take the drawing out of a call, and return the context that adds its features.

        Args:
            control: an adapter of drawings.
            call: arguments of the pipeline; what it does not take is removed.
            denoiser: whose features are added to.
            use_image: image-to-image.

        Raises:
            RequestError: there are several drawings.
        """
        images = call.pop("control_image")
        scale = float(call.pop("controlnet_conditioning_scale"))
        if use_image:  # a plain pipeline takes the size from the image
            del call["height"], call["width"]
        if any(image is not images[0] for image in images):
            raise RequestError("Drawings for an adapter are drawn from one at a time.")
        adapter = self._adapters.setdefault(id(control.model), DrawingAdapter(control.model))
        return adding(denoiser, adapter.features(np.asarray(images[0].convert("L"))), scale)
