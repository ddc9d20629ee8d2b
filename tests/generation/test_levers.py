"""Levers of speed: what each keeps of the image, and which work it saves."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from generation.denoising import StepTools
from generation.generate import generate
from generation.levers import DEFAULT, FAST, LOSSY, PLAIN, Levers, read_levers
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.request import DrawingSettings, GenerateRequest
from generation.step_graph import Recording
from tests.generation import tiny

STEPS = 4


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    base = tiny.make_pipeline(tmp_path_factory.mktemp("tokenizer"))
    return ImagePipeline.from_parts(base, tiny.make_controlnet(base.unet), tiny.TEXT_HASH)


@pytest.fixture(autouse=True)
def plain(pipeline):
    yield
    pipeline.set_levers(PLAIN)


def request(*, seed: int = 0, with_control: bool = True, **settings) -> GenerateRequest:
    return GenerateRequest(
        query=tiny.make_query(seed=seed),
        control_sketch=tiny.make_sketch() if with_control else None,
        settings=DrawingSettings(num_inference_steps=STEPS, **settings),
    )


def draw(pipeline, asked: GenerateRequest) -> np.ndarray:
    return np.stack([np.asarray(one.image) for one in generate(pipeline, asked).images])


def flops(pipeline, asked: GenerateRequest) -> int:
    with FlopCounterMode(display=False) as counter:
        draw(pipeline, asked)
    return counter.get_total_flops()


class Recorder:
    """Records as CUDA graphs do, as far as the CPU can: the function runs again on its inputs."""

    def __init__(self, problem: str | None = None):
        self.num_recorded, self.num_replayed, self.problem = 0, 0, problem

    def __call__(self, run: Callable[[], torch.Tensor]) -> Recording:
        if self.problem:
            raise RuntimeError(self.problem)
        self.num_recorded += 1
        output = run()

        def replay() -> None:
            self.num_replayed += 1
            output.copy_(run())

        return Recording(output=output, replay=replay)


@pytest.mark.parametrize("with_control", [True, False])
def test_reused_text_gives_the_same_bytes_and_projects_keys_once(pipeline, with_control):
    asked = [request(seed=seed, with_control=with_control, num_images=2) for seed in (0, 1, 0)]
    expected = [draw(pipeline, one) for one in asked]
    before = flops(pipeline, asked[0])
    pipeline.set_levers(DEFAULT)
    assert all((draw(pipeline, a) == b).all() for a, b in zip(asked, expected, strict=True))
    models = pipeline._step_models if with_control else pipeline._step_models[:1]
    attentions = [
        module
        for model in models
        for module in model.modules()
        if getattr(module, "is_cross_attention", False)
    ]
    rows = 2 * 2 * tiny.CONTEXT  # guidance and two images
    per_step = sum(2 * rows * a.to_k.in_features * a.to_k.out_features * 2 for a in attentions)
    assert per_step > 0
    # Text that was encoded for the images above is not encoded again, either.
    assert before - flops(pipeline, asked[0]) >= (STEPS - 1) * per_step


def test_another_prompt_of_the_same_shape_is_not_drawn_from_the_former_ones_keys(pipeline):
    pipeline.set_levers(DEFAULT)
    first, second = draw(pipeline, request(seed=0)), draw(pipeline, request(seed=1))
    assert (first != second).any()
    assert (draw(pipeline, request(seed=0)) == first).all()


def test_levers_off_leave_the_models_as_they_were(pipeline):
    expected, names = draw(pipeline, request()), list(pipeline._denoiser.state_dict())
    hashed = pipeline.weights_hash
    pipeline.set_levers(replace(LOSSY, compiled=False))
    pipeline._hash = None
    assert pipeline.weights_hash == hashed
    pipeline.set_levers(PLAIN)
    assert list(pipeline._denoiser.state_dict()) == names
    assert "forward" not in vars(pipeline._denoiser)
    assert (draw(pipeline, request()) == expected).all()


def test_recorded_steps_give_the_same_bytes_for_every_prompt_and_shape(pipeline):
    asked = [
        request(seed=0),
        request(seed=1, guidance_scale=5.0),
        request(seed=1, with_control=False),
        request(seed=2, num_images=2),
        request(seed=0, guidance_scale=1.0),
        request(seed=3),
    ]
    expected = [draw(pipeline, one) for one in asked]
    recorder = Recorder()
    pipeline.set_levers(Levers(graph=True), StepTools(record=recorder))
    assert all((draw(pipeline, a) == b).all() for a, b in zip(asked, expected, strict=True))
    assert recorder.num_replayed == STEPS * len(asked)
    # Four shapes, and when they were many, they were dropped and the last one recorded again.
    assert recorder.num_recorded == 5


def test_the_strength_of_control_is_part_of_a_recording(pipeline):
    asked = [request(controlnet_conditioning_scale=scale) for scale in (0.5, 1.0)]
    expected = [draw(pipeline, one) for one in asked]
    assert (expected[0] != expected[1]).any()
    pipeline.set_levers(Levers(graph=True), StepTools(record=Recorder()))
    assert all((draw(pipeline, a) == b).all() for a, b in zip(asked, expected, strict=True))


def test_where_recording_fails_steps_run_as_they_are_and_it_is_said(pipeline):
    expected = draw(pipeline, request())
    problem = "operation not permitted when stream is capturing"
    pipeline.set_levers(Levers(graph=True), StepTools(record=Recorder(problem)))
    assert (draw(pipeline, request()) == expected).all()
    assert pipeline.notes == (f"Steps are not recorded as CUDA graphs: {problem}",)


def test_without_cuda_steps_are_not_recorded(pipeline):
    expected = draw(pipeline, request())
    pipeline.set_levers(Levers(graph=True))
    assert (draw(pipeline, request()) == expected).all()
    assert pipeline.notes == ()


@pytest.mark.parametrize("name", ["channels_last", "fused_projections"])
def test_levers_of_the_second_column_are_equal_but_for_rounding(pipeline, name):
    latents = {"output_type": "latent"}
    expected = draw_latents(pipeline, request())
    pipeline.set_levers(Levers(**{name: True}))
    difference = (draw_latents(pipeline, request()) - expected).abs().max()
    assert 0 <= float(difference) < 1e-4, latents
    assert pipeline.device_name == f"cpu/float32/{name}"


def draw_latents(pipeline, asked: GenerateRequest) -> torch.Tensor:
    """The last latents, of which pixels would hide small differences."""
    seen: list[torch.Tensor] = []
    step = pipeline._denoiser.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    draw(pipeline, asked)
    step.remove()
    return seen[-1].clone()


def test_fused_projections_need_one_product_where_there_were_three(pipeline, monkeypatch):
    def products() -> int:
        calls: list[int] = []
        linear = torch.nn.functional.linear
        monkeypatch.setattr(
            torch.nn.functional, "linear", lambda *a, **k: calls.append(1) or linear(*a, **k)
        )
        draw(pipeline, request())
        monkeypatch.undo()
        return len(calls)

    before = products()
    pipeline.set_levers(replace(PLAIN, fused_projections=True))
    attentions = [
        module
        for model in pipeline._step_models
        for module in model.modules()
        if getattr(module, "is_cross_attention", None) is False
    ]
    assert before - products() == 2 * STEPS * len(attentions) > 0
    one = attentions[0]
    shared = one.to_qkv.weight.untyped_storage().data_ptr()
    assert one.to_k.weight.untyped_storage().data_ptr() == shared


def counting_compiler() -> tuple[list[int], Callable[..., Callable[..., object]]]:
    graphs: list[int] = []

    def backend(graph, _):
        graphs.append(1)
        return graph.forward

    return graphs, lambda forward: torch.compile(forward, dynamic=False, backend=backend)


def test_blocks_are_compiled_for_sizes_that_were_seen_and_used_from_then_on(pipeline):
    asked = request()
    expected = draw_latents(pipeline, asked)
    graphs, compile_block = counting_compiler()
    pipeline.set_levers(Levers(compiled=True), StepTools(compile_block=compile_block))
    regions = pipeline._steps.regions
    assert (draw_latents(pipeline, asked) == expected).all()
    assert not graphs
    assert len(regions.waiting) == 1
    pipeline.warm_up()
    num_graphs = len(graphs)
    assert num_graphs > 0
    assert regions.waiting == ()
    assert float((draw_latents(pipeline, asked) - expected).abs().max()) < 1e-4
    draw(pipeline, request(seed=1))
    assert len(graphs) == num_graphs  # a request never waits for the compiler
    draw(pipeline, request(num_images=2))
    assert len(graphs) == num_graphs
    assert len(regions.waiting) == 1


def test_where_compilation_fails_blocks_run_as_they_are_and_it_is_said(pipeline):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler found")

    expected = draw(pipeline, request())
    pipeline.set_levers(Levers(compiled=True), StepTools(compile_block=lambda _: fail))
    draw(pipeline, request())
    pipeline.warm_up()
    assert (draw(pipeline, request()) == expected).all()
    assert pipeline.notes == ("Blocks are not compiled: RuntimeError: no compiler found",)


@pytest.mark.parametrize("record", [None, Recorder()])
def test_deep_features_are_computed_once_per_interval(pipeline, record):
    asked = request()
    expected, calls = draw(pipeline, asked), []
    middle = pipeline._denoiser.mid_block.register_forward_hook(lambda *_: None)
    middle.remove()
    pipeline.set_levers(replace(PLAIN, cache_interval=2, graph=True), StepTools(record=record))
    block = pipeline._denoiser.mid_block.attentions[0]
    hook = block.register_forward_hook(lambda *_: calls.append(1))
    image = draw(pipeline, asked)
    hook.remove()
    if record is None:
        assert len(calls) == STEPS // 2
    assert (image != expected).any()
    assert np.abs(image.astype(int) - expected).mean() < np.abs(image.astype(int) - 128).mean()
    # The control network is left out with the deep blocks.
    assert flops(pipeline, asked) < 0.95 * flops_of_plain(pipeline, asked)


def flops_of_plain(pipeline, asked: GenerateRequest) -> int:
    pipeline.set_levers(PLAIN)
    return flops(pipeline, asked)


def test_recorded_and_plain_steps_reuse_the_same_deep_features(pipeline):
    lossy = replace(PLAIN, cache_interval=3)
    asked = [request(seed=0), request(seed=1, num_images=2), request(seed=2)]
    pipeline.set_levers(lossy)
    expected = [draw(pipeline, one) for one in asked]
    pipeline.set_levers(replace(lossy, graph=True), StepTools(record=Recorder()))
    assert all((draw(pipeline, a) == b).all() for a, b in zip(asked, expected, strict=True))


def test_the_table_of_a_kit_is_read_and_checked():
    assert read_levers({}) == DEFAULT
    table = {"channels_last": True, "cache_interval": 2}
    assert read_levers(table) == Levers(channels_last=True, cache_interval=2)
    with pytest.raises(PipelineError, match="names 'warp'; the levers are reuse_text, graph"):
        read_levers({"warp": True})
    with pytest.raises(PipelineError, match="`graph` must be true or false, got 1"):
        read_levers({"graph": 1})
    with pytest.raises(PipelineError, match="`cache_interval` must be a whole number from 1 to 10"):
        read_levers({"cache_interval": 0})
    assert FAST.inexact_names == ("channels_last", "fused_projections", "compiled")


def test_deep_features_need_a_unet():
    from generation.deep_features import DeepFeatures

    with pytest.raises(PipelineError, match="needs a UNet"):
        DeepFeatures(torch.nn.Linear(2, 2), 2)
