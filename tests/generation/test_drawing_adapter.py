"""T2I-Adapters beside plain pipelines, against diffusers' own pipelines for them."""

from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from generation.control import control_image
from generation.control_networks import DEFAULT_CONTROL
from generation.denoising import StepTools
from generation.drawing_adapter import DrawingAdapter
from generation.generate import generate, generate_each
from generation.levers import DEFAULT, Levers
from generation.model_files import PipelineSource
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.request import DrawingSettings, GenerateRequest, RequestError, TransferRequest
from generation.transfer import transfer
from tests.generation import tiny
from tests.generation.test_full_pipelines import plain_query
from tests.generation.test_levers import Recorder
from tests.generation.test_style import SKETCH, picture, pixels
from tests.replicas import clips, pipelines

pytestmark = pytest.mark.kits
SETTINGS = DrawingSettings(
    seed=3, num_inference_steps=2, guidance_scale=4.0, controlnet_conditioning_scale=0.9
)
THEIRS = {
    "sd15": diffusers.StableDiffusionAdapterPipeline,
    "sdxl": diffusers.StableDiffusionXLAdapterPipeline,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    clip = clips.write_clip_l14(folder / "clip")
    return {
        "sd15": pipelines.write_sd15(folder / "sd15", clip),
        "sd15-adapter": pipelines.write_sd15_sketch_adapter(folder / "sd15-adapter"),
        "sdxl": pipelines.write_sdxl(folder / "sdxl", clip),
        "sdxl-adapter": pipelines.write_sdxl_sketch_adapter(folder / "sdxl-adapter"),
    }


def source(folders, family, adapter=None):
    return PipelineSource(
        folder=folders[family],
        controlnet=folders[f"{adapter or family}-adapter"],
        text_hash=tiny.TEXT_HASH,
    )


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def pipeline(request, folders):
    return ImagePipeline.load(source(folders, request.param))


def model_of(pipeline):
    return pipeline._controls.require(DEFAULT_CONTROL).model


def asked(pipeline, **changes):
    settings = replace(SETTINGS, **changes)
    query = plain_query(pipeline, "a red chair")
    return GenerateRequest(query=query, control_sketch=SKETCH, settings=settings)


# diffusers 0.42 calls a method of its own that it has deprecated.
@pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning")
def test_the_image_is_that_of_diffusers_own_pipeline(pipeline):
    ours = pixels(generate(pipeline, asked(pipeline, num_images=2)))
    base = pipeline._base
    name = "sd15" if base.unet.config.addition_embed_type is None else "sdxl"
    parts = {k: v for k, v in base.components.items() if k != "image_encoder"}
    parts.pop("feature_extractor", None)
    parts.pop("safety_checker", None)
    extra = {"safety_checker": None, "feature_extractor": None} if name == "sd15" else {}
    theirs = THEIRS[name](adapter=model_of(pipeline), **parts, **extra)
    theirs.scheduler = type(base.scheduler).from_config(base.scheduler.config)
    control = Image.fromarray(control_image(SKETCH, 64, 64))
    with torch.inference_mode(), pipeline._steps.paused():
        images = theirs(
            prompt="a red chair", image=control if name == "sd15" else control.convert("RGB"),
            height=64, width=64, num_images_per_prompt=2, num_inference_steps=2,
            guidance_scale=4.0, adapter_conditioning_scale=0.9,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in (3, 4)],
        ).images  # fmt: skip
    expected = np.stack([np.asarray(image).astype(int) for image in images])
    difference = int(np.abs(ours - expected).max())
    print(f"T2I-Adapter, {name}: largest difference {difference} of 255")  # noqa: T201
    assert difference <= 1
    plain = pixels(generate(pipeline, asked(pipeline, controlnet_conditioning_scale=0.0)))
    assert np.abs(ours[0] - plain[0]).mean() > 0.5


def test_the_adapter_runs_once_per_drawing(pipeline, monkeypatch):
    calls = []
    run = model_of(pipeline).forward
    monkeypatch.setattr(model_of(pipeline), "forward", lambda x: calls.append(1) or run(x))
    pipeline._controls._adapters.clear()
    for seed in (3, 4):
        generate(pipeline, asked(pipeline, seed=seed, num_images=2))
    assert len(calls) == 1
    other = np.rot90(control_image(SKETCH, 64, 64)).copy()
    request = replace(asked(pipeline), control_sketch=None, control=other)
    generate(pipeline, request)
    assert len(calls) == 2


def test_an_image_is_redrawn_with_an_adapter_too(pipeline):
    shared = {"query": plain_query(pipeline, "a chair"), "source": picture(3), "strength": 0.9}
    drawn = TransferRequest(**shared, control_sketch=SKETCH, settings=SETTINGS)
    free = replace(drawn, settings=replace(SETTINGS, controlnet_conditioning_scale=0.0))
    assert not np.array_equal(pixels(transfer(pipeline, drawn)), pixels(transfer(pipeline, free)))


def test_levers_give_the_same_image(pipeline):
    request = asked(pipeline)
    expected = pixels(generate(pipeline, request))
    with pipeline.slot:
        pipeline.set_levers(Levers(graph=True), StepTools(record=Recorder()))
    try:
        drawn = [pixels(generate(pipeline, request)) for _ in range(2)]
    finally:
        with pipeline.slot:
            pipeline.set_levers(DEFAULT)
    assert all(np.abs(one - expected).max() <= 1 for one in drawn)


def test_what_does_not_fit_is_one_sentence(folders, pipeline):
    with pytest.raises(PipelineError, match=r"features have \(channels, side\) .* Choose one of"):
        ImagePipeline.load(source(folders, "sd15", "sdxl"))
    with pytest.raises(RequestError, match="are drawn from one at a time"):
        generate_each(pipeline, [asked(pipeline), asked(pipeline)])
    adapter = DrawingAdapter(model_of(pipeline))
    with pytest.raises(RequestError, match="sides that are multiples of"):
        adapter.features(np.zeros((72, 64), np.uint8))
