import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from PIL import Image

from generation.request import (
    DrawingSettings,
    GenerateRequest,
    RequestError,
    Scheduler,
    TransferRequest,
    effective_control_scale,
)
from tests.generation import tiny


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_inference_steps": 51}, "whole number from 1 to 50, got 51"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": True}, "whole number"),
        ({"num_images": 9}, "from 1 to 8, got 9"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"guidance_scale": math.nan}, "guidance_scale.*got nan"),
        ({"guidance_scale": math.inf}, "guidance_scale.*got inf"),
        ({"guidance_scale": 0.5}, "guidance_scale"),
        ({"controlnet_conditioning_scale": -0.1}, "controlnet_conditioning_scale"),
        ({"height": 64}, "both `height` and `width`"),
        ({"height": 66, "width": 64}, "multiple of 8 pixels, got 66"),
        ({"height": 2056, "width": 768}, "from 8 to 2048, got 2056"),
        ({"height": 0, "width": 64}, "height"),
        ({"negative_text": "x" * 1001}, "at most 1000 characters, got 1001"),
    ],
)
def test_values_beyond_the_caps_are_refused(change, message):
    with pytest.raises(RequestError, match=message):
        DrawingSettings(**change)


def test_the_largest_settings_are_accepted():
    settings = DrawingSettings(num_inference_steps=50, num_images=8, height=768, width=768)
    assert settings.scheduler is Scheduler.KIT


@pytest.mark.parametrize(
    "change",
    [
        {"num_inference_steps": 1},
        {"seed": 0},
        {"seed": 2**63 - 9},
        {"num_images": 1},
        {"guidance_scale": 1.0},
        {"guidance_scale": 30.0},
        {"controlnet_conditioning_scale": 0.0},
        {"controlnet_conditioning_scale": 2.0},
        {"height": 8, "width": 8},
        {"height": 288, "width": 2048},
        {"height": 2048, "width": 288},
        {"negative_text": "x" * 1000},
    ],
)
def test_values_at_the_caps_are_accepted(change):
    settings = DrawingSettings(**change)
    assert {name: getattr(settings, name) for name in change} == change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2**63 - 8}, "`seed` must be a whole number from 0 to 9223372036854775799, got"),
        ({"num_images": 0}, "`num_images` must be a whole number from 1 to 8, got 0"),
        ({"guidance_scale": 30.1}, r"from 1 to 30, got 30\.1"),
        ({"controlnet_conditioning_scale": 2.1}, r"from 0 to 2, got 2\.1"),
        ({"width": 64}, "both `height` and `width`"),
        ({"height": 64, "width": 60}, "`width` must be a multiple of 8 pixels, got 60"),
        ({"height": 2056, "width": 8}, "`height` must be a whole number from 8 to 2048, got 2056"),
        ({"height": 8, "width": 2056}, "`width` must be a whole number from 8 to 2048, got 2056"),
        ({"height": 8, "width": 7}, "`width` must be a whole number from 8 to 2048, got 7"),
    ],
)
def test_values_just_beyond_the_caps_are_refused(change, message):
    with pytest.raises(RequestError, match=message):
        DrawingSettings(**change)


def test_a_long_value_is_told_in_part():
    with pytest.raises(RequestError) as caught:
        DrawingSettings(num_inference_steps=10**60)
    assert str(caught.value).endswith(f"got {'1' + 39 * '0'}.")


def test_a_request_cannot_change():
    request = GenerateRequest(query=tiny.make_query())
    with pytest.raises(FrozenInstanceError):
        request.settings = DrawingSettings(seed=3)
    with pytest.raises(FrozenInstanceError):
        request.settings.seed = 3
    assert tiny.vary(request, seed=3).settings.seed == 3


def test_a_request_has_at_most_one_control():
    controls = {"control": np.zeros((64, 64), np.uint8), "control_sketch": tiny.make_sketch()}
    with pytest.raises(RequestError, match="not both"):
        GenerateRequest(query=tiny.make_query(), **controls)
    with pytest.raises(RequestError, match="not both"):
        TransferRequest(query=tiny.make_query(), source=Image.new("RGB", (64, 64)), **controls)


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_transfer_strength_is_a_share(strength):
    source = Image.new("RGB", (64, 64))
    with pytest.raises(RequestError, match="strength"):
        TransferRequest(query=tiny.make_query(), source=source, strength=strength)


def test_a_transfer_of_one_step_is_enough():
    settings = DrawingSettings(num_inference_steps=4)
    for strength in (0.25, 1.0):
        request = TransferRequest(
            query=tiny.make_query(),
            source=Image.new("RGB", (64, 64)),
            strength=strength,
            settings=settings,
        )
        assert request.strength == strength


def test_transfer_needs_one_step_and_rgb():
    with pytest.raises(RequestError, match=r"at least 1, got 4 x 0\.2"):
        TransferRequest(
            query=tiny.make_query(),
            source=Image.new("RGB", (64, 64)),
            strength=0.2,
            settings=DrawingSettings(num_inference_steps=4),
        )
    with pytest.raises(RequestError, match="got mode RGBA"):
        TransferRequest(query=tiny.make_query(), source=Image.new("RGBA", (64, 64)))


@pytest.mark.parametrize(("balance", "scale"), [(0.0, 0.8), (0.5, 0.8), (0.75, 0.4), (1.0, 0.0)])
def test_balance_fades_control_towards_words(balance, scale):
    query = tiny.make_query(balance=balance)
    request = tiny.vary(GenerateRequest(query=query), controlnet_conditioning_scale=0.8)
    assert effective_control_scale(request) == pytest.approx(scale)
