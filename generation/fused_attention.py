"""Self-attention whose query, key and value are one product."""

from collections.abc import Sequence
from typing import Any, Final

from torch import nn

FUSED: Final = ".to_qkv."
"""Part of the names of fused weights."""


def fuse_projections(models: Sequence[nn.Module]) -> None:
    """Compute query, key and value of self-attention in one product; no memory is added."""
    from diffusers.models.attention_processor import AttnProcessor2_0, FusedAttnProcessor2_0

    for attention in _self_attentions(models, AttnProcessor2_0):
        attention.fuse_projections(fuse=True)
        start = 0
        for layer in (attention.to_q, attention.to_k, attention.to_v):
            rows = slice(start, start + layer.out_features)
            layer.weight.data = attention.to_qkv.weight.data[rows]
            if layer.bias is not None:
                layer.bias.data = attention.to_qkv.bias.data[rows]
            start += layer.out_features
        attention.set_processor(FusedAttnProcessor2_0())


def unfuse_projections(models: Sequence[nn.Module]) -> None:
    """Undo `fuse_projections`."""
    from diffusers.models.attention_processor import AttnProcessor2_0, FusedAttnProcessor2_0

    for attention in _self_attentions(models, FusedAttnProcessor2_0):
        attention.set_processor(AttnProcessor2_0())
        del attention.to_qkv
        attention.fused_projections = False


def _self_attentions(models: Sequence[nn.Module], processor: type) -> list[Any]:
    """Return the self-attention whose projections are plain layers and that a processor serves."""
    found: list[Any] = []
    for module in (module for model in models for module in model.modules()):
        attention: Any = module
        if (
            type(getattr(attention, "processor", None)) is processor
            and not attention.is_cross_attention
            and getattr(attention, "added_kv_proj_dim", None) is None
            and all(
                type(getattr(attention, name)) is nn.Linear for name in ("to_q", "to_k", "to_v")
            )
        ):
            found.append(attention)
    return found
