import numpy as np
import pytest
import torch

from generation.training.command import Pixels
from generation.training.crops import Crops, CropSize
from generation.training.loop import step_generator

SMALL = (CropSize(side_px=16, count=8, share=1.0),)


@pytest.fixture
def crops(pack):
    return Crops(Pixels(pack, pack.rows(split="train"), torch.device("cpu")))


def test_crops_are_cut_from_pictures_and_the_same_for_the_same_generator(crops):
    batch = crops.draw(SMALL, step_generator(0, 0))
    assert batch.shape == (8, 3, 16, 16)
    assert torch.equal(batch, crops.draw(SMALL, step_generator(0, 0)))
    assert not torch.equal(batch, crops.draw(SMALL, step_generator(0, 1)))
    pictures = crops.pixels.take(torch.arange(len(crops.pixels)))
    windows = pictures.unfold(2, 16, 1).unfold(3, 16, 1)  # n 3 y x 16 16
    for crop in (batch[0], batch[0].flip(2)):
        if any((window == crop[:, None, None]).all((0, 3, 4)).any() for window in windows):
            return
    pytest.fail("the crop is in no picture, as it is or mirrored")


def test_most_crops_are_on_the_object(crops):
    ground = np.array([crops.pixels.levels(torch.tensor([i]))[0, 0, 0].numpy() for i in range(32)])
    batch = torch.cat([crops.draw(SMALL, step_generator(1, step)) for step in range(25)])
    levels = (batch[:, :, 8, 8] + 1) * 127.5
    grounds = torch.from_numpy(ground).float()
    is_ground = ((levels[:, None] - grounds[None]).abs().amax(2) < 3).any(1)
    assert 0.05 < float(is_ground.float().mean()) < 0.35


def test_some_crops_are_mirrored(crops):
    whole = (CropSize(side_px=128, count=32, share=1.0),)
    batch = crops.draw(whole, step_generator(0, 0))
    pictures = crops.pixels.take(torch.arange(len(crops.pixels)))
    straight = [any(torch.equal(crop, picture) for picture in pictures) for crop in batch]
    turned = [any(torch.equal(crop.flip(2), picture) for picture in pictures) for crop in batch]
    assert all(a or b for a, b in zip(straight, turned, strict=True))
    assert 4 < sum(straight) < 28


def test_the_sizes_take_turns_by_their_shares_and_end_at_the_picture(crops):
    sizes = (CropSize(side_px=16, count=2, share=0.75), CropSize(side_px=999, count=1, share=0.25))
    sides = [crops.draw(sizes, step_generator(0, step)).shape[-1] for step in range(80)]
    assert set(sides) == {16, 128}
    assert 0.6 < sides.count(16) / 80 < 0.9
