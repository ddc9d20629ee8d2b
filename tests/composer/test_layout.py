"""Layouts of pictures: the projection that every gallery shares."""

import torch

from composer.layout import region_maps, region_projection


def test_a_projection_first_made_within_a_search_serves_a_training():
    region_projection.cache_clear()
    with torch.inference_mode():
        region_projection(8)
    patches = torch.rand(2, 16, 8, requires_grad=True)
    region_maps(patches, region_projection(8)).sum().backward()
    assert patches.grad is not None
