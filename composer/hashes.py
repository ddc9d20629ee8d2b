"""Names of towers: the same weights and settings, the same hash."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn


def tower_hashes(model: nn.Module, preprocessing: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of a CLIP's vision tower, which covers preprocessing, and text tower."""
    state = model.state_dict()
    visual = [(n, t) for n, t in state.items() if n.startswith("visual.")]
    # Flat and custom-text layouts of one tower must agree, hence the dropped prefix.
    text = [
        (n.removeprefix("text."), t)
        for n, t in state.items()
        if not n.startswith("visual.") and n not in ("logit_scale", "logit_bias")
    ]
    settings = json.dumps(preprocessing, sort_keys=True, default=list).encode()
    return _hash_tensors(visual, settings), _hash_tensors(text, b"")


def _hash_tensors(named: Iterable[tuple[str, Tensor]], settings: bytes) -> str:
    digest = hashlib.sha256(settings)
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
