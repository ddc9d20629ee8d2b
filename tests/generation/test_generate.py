import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from generation.cancel import CancelToken, GenerationCancelledError
from generation.generate import generate, generate_each, plan_generation
from generation.masking import mask_of_box
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest, RequestError, Scheduler, TransferRequest
from generation.sample import BusyError, OutOfMemoryError, RunOptions, sample_each
from generation.transfer import plan_transfer, transfer
from tests.generation import tiny


def make_request(**changes) -> GenerateRequest:
    request = GenerateRequest(query=tiny.make_query())
    return tiny.vary(request, **{"num_inference_steps": 2, "seed": 3} | changes)


def make_transfer(**changes) -> TransferRequest:
    ramp = np.linspace(0, 255, 80 * 64 * 3).reshape(64, 80, 3).astype(np.uint8)
    ramp[20:44, 20:60] = (200, 30, 30)
    request = TransferRequest(query=tiny.make_query(), source=Image.fromarray(ramp))
    return tiny.vary(request, **{"num_inference_steps": 4, "seed": 3} | changes)


def pixels(result) -> np.ndarray:
    return np.stack([np.asarray(picture.image) for picture in result.images])


def chroma(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("YCbCr")).astype(float)[..., 1:]


def test_the_same_request_gives_the_same_bytes(pipeline):
    request = make_request(control_sketch=tiny.make_sketch(), num_images=2)
    first, again = pixels(generate(pipeline, request)), pixels(generate(pipeline, request))
    assert first.shape == (2, 64, 64, 3)
    assert first.tobytes() == again.tobytes()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"query": tiny.make_query(seed=1)},
        {"negative_text": "red"},
        {"guidance_scale": 6.0},
        {"num_inference_steps": 3},
        {"control_sketch": None},
        {"controlnet_conditioning_scale": 0.3},
    ],
)
def test_every_part_of_the_request_reaches_the_image(pipeline, change):
    request = make_request(control_sketch=tiny.make_sketch())
    changed = tiny.vary(request, **change)
    assert (pixels(generate(pipeline, request)) != pixels(generate(pipeline, changed))).any()


def test_words_only_ignores_the_drawing(pipeline):
    query = tiny.make_query(balance=1.0)
    with_sketch = generate(pipeline, make_request(query=query, control_sketch=tiny.make_sketch()))
    assert with_sketch.control is None
    assert (pixels(with_sketch) == pixels(generate(pipeline, make_request(query=query)))).all()


def test_a_batch_draws_each_seed(pipeline):
    batch = pixels(generate(pipeline, make_request(num_images=3)))
    single = pixels(generate(pipeline, make_request(seed=5)))
    assert np.abs(batch[2].astype(int) - single[0]).max() <= 2


@pytest.mark.parametrize("sketch", [None, tiny.make_sketch()])
def test_requests_drawn_together_are_those_drawn_alone(pipeline, sketch):
    queries = [tiny.make_query("red", seed=seed) for seed in (0, 1)]
    requests = [
        make_request(query=q, seed=7 + i, control_sketch=sketch) for i, q in enumerate(queries)
    ]
    together = [np.asarray(image).astype(int) for image in generate_each(pipeline, requests)]
    alone = [pixels(generate(pipeline, request))[0].astype(int) for request in requests]
    assert np.abs(np.array(together) - np.array(alone)).max() <= 2
    assert np.abs(alone[0] - alone[1]).max() > 2
    with pytest.raises(RequestError, match="the same `guidance_scale`"):
        generate_each(pipeline, [requests[0], tiny.vary(requests[1], guidance_scale=6.0)])
    other = replace(requests[1], control_sketch=None if sketch else tiny.make_sketch())
    mixed = [np.asarray(image).astype(int) for image in generate_each(pipeline, [other, *requests])]
    alone = [pixels(generate(pipeline, other))[0].astype(int), *alone]
    assert np.abs(np.array(mixed) - np.array(alone)).max() <= 2
    with pytest.raises(RequestError, match="all have a control image, or none"):
        sample_each(pipeline, [plan_generation(pipeline, one) for one in (requests[0], other)])
    prompt = queries[1].prompt_embeddings
    longer = replace(requests[1], query=replace(queries[1], prompt_embeddings=prompt.repeat(2, 1)))
    with pytest.raises(RequestError, match="must be equally long"):
        generate_each(pipeline, [requests[0], longer])
    assert not pipeline.slot.locked()


def test_sizes_and_schedulers(pipeline):
    result = generate(pipeline, make_request(height=40, width=72, scheduler=Scheduler.UNIPC))
    assert result.images[0].image.size == (72, 40)


def test_control_must_have_the_output_size(pipeline):
    with pytest.raises(RequestError, match="must be 64 x 64 px, got 32 x 40"):
        generate(pipeline, make_request(control=np.zeros((40, 32), np.uint8)))


def test_a_kit_without_control_says_so(base_pipeline):
    plain = ImagePipeline.from_parts(base_pipeline, None, tiny.TEXT_HASH)
    with pytest.raises(RequestError, match="no control network"):
        generate(plain, make_request(control_sketch=tiny.make_sketch()))
    assert transfer(plain, make_transfer()).control is None


def test_transfer_is_repeatable_and_strength_moves_it(pipeline):
    weak, strong = make_transfer(strength=0.3), make_transfer(strength=1.0)
    first, again = pixels(transfer(pipeline, weak)), pixels(transfer(pipeline, weak))
    assert first.tobytes() == again.tobytes()
    assert (first != pixels(transfer(pipeline, strong))).any()


@pytest.mark.parametrize("mask", [None, mask_of_box((20, 10, 40, 40), 80, 64)])
def test_a_transfer_can_keep_the_colours_of_its_source(pipeline, mask):
    drawn, kept = (
        transfer(pipeline, make_transfer(strength=1.0, mask=mask, keeps_colours=keeps))
        for keeps in (False, True)
    )
    request = make_transfer()
    plan = plan_transfer(pipeline, request)
    source = request.source if mask else plan.source
    distances = [
        np.abs(chroma(result.images[0].image).mean((0, 1)) - chroma(source).mean((0, 1))).sum()
        for result in (drawn, kept)
    ]
    assert distances[1] < 0.5 * distances[0]
    assert chroma(kept.images[0].image).shape == chroma(drawn.images[0].image).shape


def test_a_transfer_can_keep_the_size_of_its_source(pipeline):
    large = transfer(pipeline, make_transfer(keeps_size=True, height=56, width=72))
    assert (large.width, large.height) == (72, 56)  # what was drawn
    assert large.images[0].image.size == (80, 64)
    cut = transfer(pipeline, make_transfer(keeps_size=True)).images[0].image
    assert cut.size == (64, 64)


def test_an_image_can_be_enlarged(pipeline):
    drawn = generate(pipeline, make_request(height=48, width=72))
    large = generate(pipeline, replace(drawn.request, enlarged_to=(300, 200)))
    assert (large.width, large.height) == (72, 48)  # what was drawn
    expected = drawn.images[0].image.resize((300, 200), Image.Resampling.LANCZOS)
    assert large.images[0].image.tobytes() == expected.tobytes()
    with pytest.raises(RequestError, match="from 1 to 4096, got 5000"):
        replace(drawn.request, enlarged_to=(5000, 5000))


def test_transfer_takes_the_sources_edges_or_the_sketch(pipeline):
    plain = transfer(pipeline, make_transfer())
    drawn = transfer(pipeline, make_transfer(control_sketch=tiny.make_sketch()))
    assert plain.control is not None
    assert plain.control[:, 32].any()
    assert (plain.control != drawn.control).any()


def test_cancel_stops_within_one_step_and_frees_the_slot(pipeline):
    cancel, steps = CancelToken(), []

    def on_step(step, total):
        steps.append((step, total))
        cancel.cancel()

    with pytest.raises(GenerationCancelledError, match="stopped"):
        generate(
            pipeline,
            make_request(num_inference_steps=20),
            RunOptions(cancel=cancel, on_step=on_step),
        )
    assert steps == [(1, 20)]
    assert not pipeline.slot.locked()
    fresh = RunOptions(cancel=CancelToken())
    assert (
        pixels(generate(pipeline, make_request(), fresh))
        == pixels(generate(pipeline, make_request()))
    ).all()


def test_a_taken_slot_is_reported(pipeline):
    with pipeline.slot, pytest.raises(BusyError, match="Another image"):
        generate(pipeline, make_request(), RunOptions(wait_s=0.01))


def test_threads_do_not_cross(pipeline):
    alone = {seed: pixels(generate(pipeline, make_request(seed=seed))) for seed in range(4)}
    together: dict[int, np.ndarray] = {}

    def work(seed):
        together[seed] = pixels(generate(pipeline, make_request(seed=seed)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((together[seed] == alone[seed]).all() for seed in alone)


def test_out_of_memory_is_tried_again_one_by_one(pipeline, monkeypatch):
    run, sizes = pipeline.run, []

    def short_of_memory(**call):
        sizes.append(len(call["generator"]))
        if len(call["generator"]) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return run(**call)

    monkeypatch.setattr(pipeline, "run", short_of_memory)
    assert len(generate(pipeline, make_request(num_images=2)).images) == 2
    assert sizes == [2, 1, 1]

    def never(**_call):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(pipeline, "run", never)
    with pytest.raises(OutOfMemoryError, match="too little memory"):
        generate(pipeline, make_request(num_images=2))
    assert not pipeline.slot.locked()
