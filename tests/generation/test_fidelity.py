import numpy as np
import pytest
from PIL import Image, ImageDraw

from generation.fidelity import changed_share, colour_distance, edge_agreement


def disc(left: int, colour: str = "red", side: int = 128) -> Image.Image:
    image = Image.new("RGB", (side, side), "white")
    box = [left, side // 4, left + side // 2, 3 * side // 4]
    ImageDraw.Draw(image).ellipse(box, fill=colour)
    return image


def test_a_picture_agrees_with_itself_and_a_shifted_one_less():
    own, repainted = disc(32), disc(32, "blue")
    assert edge_agreement(own, own) > 0.95
    assert edge_agreement(repainted, own) > 0.9
    assert edge_agreement(disc(60), own) < edge_agreement(repainted, own) - 0.2


def test_colours_are_compared_by_patches():
    grey, lighter = Image.new("RGB", (32, 32), (119,) * 3), Image.new("RGB", (64, 64), (145,) * 3)
    assert colour_distance(grey, grey) == 0
    assert colour_distance(lighter, grey) == pytest.approx(10, abs=0.5)  # L* 50 and 60
    grains = np.indices((64, 64)).sum(0) % 2 * 255
    noisy = Image.fromarray(np.repeat(grains.astype(np.uint8)[..., None], 3, axis=2))
    assert colour_distance(noisy, Image.new("RGB", (64, 64), (128,) * 3)) < 1


def test_the_changed_share_is_that_of_pixels():
    source = Image.new("RGB", (40, 40), (119,) * 3)
    drawn = source.copy()
    drawn.paste((190, 60, 60), (0, 0, 10, 40))
    drawn.paste((121, 119, 119), (20, 0, 40, 40))  # nobody sees that
    assert changed_share(drawn, source) == pytest.approx(0.25)
    large = drawn.resize((80, 80), Image.Resampling.NEAREST)
    assert changed_share(large, source) == pytest.approx(0.25, abs=0.02)
