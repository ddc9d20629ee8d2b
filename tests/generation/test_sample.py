"""The sampler: seeds, retries, what a result says, and what the pipeline is asked."""

import numpy as np
import pytest
import torch
from PIL import Image

from generation.cancel import CancelToken, GenerationCancelledError, step_callback
from generation.generate import generate, generate_each, plan_generation
from generation.request import RequestError, Scheduler
from generation.sample import OutOfMemoryError, RunOptions, pixels_hash
from generation.transfer import plan_transfer, transfer
from tests.generation import tiny
from tests.generation.test_generate import make_request, make_transfer, pixels


@pytest.fixture
def calls(pipeline, monkeypatch):
    """What the pipeline is asked, in order; it goes on drawing."""
    run, calls = pipeline.run, []
    monkeypatch.setattr(pipeline, "run", lambda **call: calls.append(call) or run(**call))
    return calls


def test_a_result_says_what_drew_it_and_how_large(pipeline):
    request = make_request(num_images=2, height=40, width=72)
    result = generate(pipeline, request)
    assert result.request is request
    assert (result.height, result.width, result.control) == (40, 72, None)
    assert result.device == "cpu/float32"
    assert result.weights_hash == pipeline.weights_hash
    assert result.duration_s > 0
    assert [item.index for item in result.images] == [0, 1]
    native = generate(pipeline, make_request())
    assert (native.height, native.width) == (pipeline.native_size_px,) * 2


def test_image_i_is_drawn_from_the_seed_plus_i(pipeline, calls):
    generate(pipeline, make_request(num_images=3, seed=11))
    assert [item.initial_seed() for item in calls[0]["generator"]] == [11, 12, 13]
    assert len(calls) == 1
    assert calls[0]["prompt_embeds"].shape == (3, tiny.CONTEXT, tiny.WIDTH)
    assert calls[0]["negative_prompt_embeds"].shape == (3, tiny.CONTEXT, tiny.WIDTH)
    assert not torch.equal(calls[0]["prompt_embeds"], calls[0]["negative_prompt_embeds"])


def test_a_scheduler_other_than_the_kits_draws_otherwise(pipeline):
    drawn = {
        kind: pixels(generate(pipeline, make_request(scheduler=kind, num_inference_steps=4)))
        for kind in (Scheduler.KIT, Scheduler.UNIPC)
    }
    assert (drawn[Scheduler.KIT] != drawn[Scheduler.UNIPC]).any()
    moved = {
        kind: pixels(transfer(pipeline, make_transfer(scheduler=kind)))
        for kind in (Scheduler.KIT, Scheduler.UNIPC)
    }
    assert (moved[Scheduler.KIT] != moved[Scheduler.UNIPC]).any()


def test_what_is_asked_of_image_to_image_with_and_without_control(pipeline, calls):
    request = make_transfer(strength=0.5, height=40, width=72)
    transfer(pipeline, request)
    transfer(pipeline, tiny.vary(request, controlnet_conditioning_scale=0.0))
    controlled, plain = calls
    assert (controlled["control_name"], controlled["use_image"]) == ("", True)
    assert (controlled["height"], controlled["width"]) == (40, 72)
    assert controlled["control_image"][0].size == (72, 40)
    assert controlled["controlnet_conditioning_scale"] == pytest.approx(
        request.settings.controlnet_conditioning_scale
    )
    assert (plain["control_name"], plain["use_image"]) == (None, True)
    assert not {"height", "width", "control_image"} & plain.keys()
    for call in calls:
        assert call["strength"] == 0.5
        assert call["image"][0].size == (72, 40)


def test_what_is_asked_of_generation_with_and_without_control(pipeline, calls):
    sketch = tiny.make_sketch()
    generate(pipeline, make_request(control_sketch=sketch, controlnet_conditioning_scale=0.7))
    generate(pipeline, make_request())
    controlled, plain = calls
    assert (controlled["control_name"], controlled["use_image"]) == ("", False)
    assert controlled["controlnet_conditioning_scale"] == pytest.approx(0.7)
    assert np.asarray(controlled["control_image"][0]).max() == 255
    assert (plain["control_name"], plain["use_image"]) == (None, False)
    assert not {"control_image", "strength", "controlnet_conditioning_scale"} & plain.keys()
    for call in calls:
        assert (call["height"], call["width"]) == (64, 64)


def test_a_finished_control_is_used_as_it_is(pipeline):
    control = plan_generation(pipeline, make_request(control_sketch=tiny.make_sketch())).control
    again = plan_generation(pipeline, make_request(control=control))
    np.testing.assert_array_equal(again.control, control)
    assert again.uses_control
    moved = plan_transfer(pipeline, make_transfer(control=control))
    np.testing.assert_array_equal(moved.control, control)
    unused = make_transfer(controlnet_conditioning_scale=0.0)
    assert plan_transfer(pipeline, unused).control is None


@pytest.mark.parametrize("shape", [(64, 32), (32, 64), (32, 32)])
def test_a_control_of_another_size_is_refused_by_both_sizes(pipeline, shape):
    height, width = shape
    with pytest.raises(RequestError, match=f"must be 64 x 64 px, got {width} x {height}"):
        generate(pipeline, make_request(control=np.full(shape, 255, np.uint8)))
    assert not pipeline.slot.locked()


def test_one_image_that_does_not_fit_is_not_tried_again(pipeline, monkeypatch):
    sizes = []

    def never(**call):
        sizes.append(len(call["generator"]))
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr(pipeline, "run", never)
    with pytest.raises(OutOfMemoryError, match="too little memory"):
        generate(pipeline, make_request())
    assert sizes == [1]


def test_a_batch_of_which_only_a_part_fits_is_an_error(pipeline, monkeypatch):
    run, seeds = pipeline.run, []

    def short_of_memory(**call):
        seeds.append([item.initial_seed() for item in call["generator"]])
        if len(seeds) in (1, 3):
            raise torch.OutOfMemoryError("out of memory")
        return run(**call)

    monkeypatch.setattr(pipeline, "run", short_of_memory)
    with pytest.raises(OutOfMemoryError, match="Ask for a smaller one"):
        generate(pipeline, make_request(num_images=3, seed=5))
    assert seeds == [[5, 6, 7], [5], [6]]


def test_other_errors_pass_and_free_the_slot(pipeline, monkeypatch):
    def broken(**_call):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(pipeline, "run", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        generate(pipeline, make_request(num_images=2))
    assert not pipeline.slot.locked()


def test_a_batch_may_be_of_one_request(pipeline):
    request = make_request(seed=9)
    (alone,) = generate_each(pipeline, [request])
    assert (np.asarray(alone) == pixels(generate(pipeline, request))[0]).all()


def test_what_was_cancelled_before_is_not_begun(pipeline, calls):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(GenerationCancelledError):
        generate(pipeline, make_request(), RunOptions(cancel=cancel))
    assert calls == []


def test_every_step_is_counted(pipeline):
    steps = []
    options = RunOptions(on_step=lambda step, total: steps.append((step, total)))
    generate(pipeline, make_request(num_inference_steps=3), options)
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_a_step_gives_its_tensors_back():
    tensors = {"latents": torch.zeros(1)}
    assert step_callback(None, None)(object(), 0, None, tensors) is tensors
    assert step_callback(CancelToken(), None)(object(), 0, None, tensors) is tensors


def test_a_picture_is_named_by_its_mode_size_and_pixels():
    base = Image.new("RGB", (4, 6), (1, 2, 3))
    changed = base.copy()
    changed.putpixel((3, 5), (1, 2, 4))
    names = [pixels_hash(item) for item in (base, changed, Image.new("RGB", (6, 4), (1, 2, 3)))]
    assert len(set(names)) == 3
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)
    assert pixels_hash(base.copy()) == names[0]
    greys = Image.new("L", (6, 6)), Image.new("P", (6, 6))
    assert pixels_hash(greys[0]) != pixels_hash(greys[1])
