"""Vision towers for inference: batch norms multiplied into the convolutions before them."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(tower: nn.Module, image_px: int) -> nn.Module:
    """Copy a tower for inference, with every BatchNorm multiplied into the convolution before.

    A tower without any is returned as it is. Pairs are detected during one pass through
    `forward_features`: a norm whose input is the very output of a convolution. What a norm did
    besides (timm's carry the activation) is kept.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in tower.modules()):
        return tower
    folded = deepcopy(tower).eval()
    names = {module: name for name, module in folded.named_modules()}
    for convolution, norm in _watch_pairs(folded, image_px):
        folded.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        folded.set_submodule(names[norm], getattr(norm, "act", nn.Identity()))
    return folded.requires_grad_(False)


@torch.no_grad()
def _watch_pairs(tower: nn.Module, image_px: int) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    network: Any = tower
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    last: list[tuple[nn.Conv2d, object]] = []

    def watch(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if isinstance(module, nn.Conv2d):
            last[:] = [(module, output)]
        elif isinstance(module, nn.BatchNorm2d) and last and inputs[0] is last[0][1]:
            pairs.append((last[0][0], module))

    handles = [module.register_forward_hook(watch) for module in tower.modules()]
    device = next(tower.parameters()).device
    network.forward_features(torch.zeros(1, 3, image_px, image_px, device=device))
    for handle in handles:
        handle.remove()
    return pairs
