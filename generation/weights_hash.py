"""Hash of the weights that an image depends on."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from generation.fused_attention import FUSED
from generation.studio_light import StudioLight


class WeightsHash:
    """Hashes of a pipeline's weights, alone and with each of its control networks; computed once.

    Cost: seconds for a large pipeline, at the first question.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        decoder: nn.Module,
        light: StudioLight | None,
        finisher: nn.Module | None = None,
    ) -> None:
        """Take what every image depends on, and what some do; nothing is read yet."""
        self._models, self._light, self._finisher = (denoiser, decoder), light, finisher
        self._digest: Any = None
        self._hashes: dict[tuple[str, bool], str] = {}

    def with_control(self, name: str, control: nn.Module | None, *, finishes: bool = False) -> str:
        """16 hex digits over the weights of denoiser, autoencoder and a control network.

        Args:
            name: of the control network, under which its hash is kept.
            control: the network; None for none.
            finishes: whether the finisher's weights follow, if there is one.
        """
        key = name, finishes
        if key not in self._hashes:
            digest = self._base_digest().copy()
            for model in (control, self._finisher if finishes else None):
                if model is not None:
                    _add_weights(digest, model)
            self._hashes[key] = digest.hexdigest()[:16]
        return self._hashes[key]

    def _base_digest(self) -> Any:  # noqa: ANN401  of hashlib
        if self._digest is None:
            self._digest = hashlib.sha256()
            for model in self._models:
                _add_weights(self._digest, model)
            if self._light is not None:
                self._digest.update(self._light.to_bytes())
        return self._digest


def _add_weights(digest: Any, model: nn.Module) -> None:  # noqa: ANN401  of hashlib
    for name, tensor in model.state_dict().items():
        if FUSED in name:  # the same weights once more
            continue
        digest.update(name.encode())
        digest.update(_as_bytes(tensor))


def _as_bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
