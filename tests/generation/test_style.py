"""IP-Adapters in the layout of their repository: a picture steers the style."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from composer.sketch import Sketch
from generation.denoising import StepTools
from generation.generate import generate, generate_each
from generation.levers import DEFAULT, Levers
from generation.memory_plan import MemoryPlan, Offload
from generation.model_files import PipelineSource, open_models
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.request import (
    DrawingSettings,
    GenerateRequest,
    RequestError,
    StyleImage,
    TransferRequest,
)
from generation.style_files import StyleError, StyleSource
from generation.transfer import transfer
from tests.generation import tiny
from tests.generation.test_full_pipelines import plain_query
from tests.generation.test_levers import Recorder
from tests.pictures import noise
from tests.replicas import adapters, clips, pipelines

pytestmark = pytest.mark.kits
ADAPTERS = {
    "sd15": "models/ip-adapter_sd15.safetensors",
    "plus": "models/ip-adapter-plus_sd15.safetensors",
    "sdxl": "sdxl_models/ip-adapter_sdxl_vit-h.safetensors",
}
SETTINGS = DrawingSettings(seed=3, num_inference_steps=2, guidance_scale=4.0)
SKETCH = Sketch.from_image(
    Image.fromarray(np.pad(np.zeros((6, 40), np.uint8), 30, constant_values=255))
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    clip = clips.write_clip_l14(folder / "clip")
    return {
        "sd15": pipelines.write_sd15(folder / "sd15", clip),
        "sd15-control": pipelines.write_sd15_scribble(folder / "sd15-control"),
        "sdxl": pipelines.write_sdxl(folder / "sdxl", clip),
        "sdxl-control": pipelines.write_sdxl_scribble(folder / "sdxl-control"),
        "adapters": adapters.write_ip_adapter(folder / "adapters"),
    }


def style_source(folder, adapter):
    return StyleSource(weights=folder / adapter, image_encoder=folder / "models" / "image_encoder")


def source(folders, family, adapter=None):
    return PipelineSource(
        folder=folders[family],
        controlnet=folders[f"{family}-control"],
        text_hash=tiny.TEXT_HASH,
        style=None if adapter is None else style_source(folders["adapters"], adapter),
    )


@pytest.fixture(scope="module", params=["sd15", "plus", "sdxl"])
def pipeline(request, folders):
    family = "sdxl" if request.param == "sdxl" else "sd15"
    return ImagePipeline.load(source(folders, family, ADAPTERS[request.param]))


@pytest.fixture(scope="module")
def sd15(folders):
    return ImagePipeline.load(source(folders, "sd15", ADAPTERS["sd15"]))


def picture(seed):
    return noise((40, 40), 40, seed=seed).convert("RGB")


def request_for(pipeline, style=None, **changes):
    query = plain_query(pipeline, "a red chair")
    return GenerateRequest(query=query, style=style, settings=replace(SETTINGS, **changes))


def pixels(result):
    return np.stack([np.asarray(each.image).astype(int) for each in result.images])


def test_the_picture_changes_the_image_and_is_gone_after_it(pipeline):
    hash_before = pipeline.weights_hash
    plain = pixels(generate(pipeline, request_for(pipeline)))
    styled = generate(pipeline, request_for(pipeline, StyleImage(image=picture(1))))
    other = generate(pipeline, request_for(pipeline, StyleImage(image=picture(2))))
    weaker = generate(pipeline, request_for(pipeline, StyleImage(image=picture(1), scale=0.1)))
    again = generate(pipeline, request_for(pipeline, StyleImage(image=picture(1))))
    full, weak = (np.abs(pixels(one) - plain).mean() for one in (styled, weaker))
    assert full > weak > 0
    assert np.abs(pixels(styled) - pixels(other)).mean() > 0
    assert np.array_equal(pixels(styled), pixels(again))
    assert np.array_equal(pixels(generate(pipeline, request_for(pipeline))), plain)
    pipeline._hash = None
    assert pipeline.weights_hash == hash_before == styled.weights_hash
    assert len(styled.adapter_hash) == 64


def test_a_scale_of_zero_is_off(pipeline):
    plain = generate(pipeline, request_for(pipeline))
    zero = generate(pipeline, request_for(pipeline, StyleImage(image=picture(1), scale=0.0)))
    assert np.array_equal(pixels(zero), pixels(plain))
    assert zero.adapter_hash == ""
    unet, adapter = pipeline._base.unet, pipeline.style_adapter()
    torch.manual_seed(0)
    latents = torch.randn(1, 4, 8, 8)
    states = pipeline.condition(plain_query(pipeline, "red"), "")
    extra = {}
    if "pooled_prompt_embeds" in states:
        extra = {"text_embeds": states["pooled_prompt_embeds"], "time_ids": torch.zeros(1, 6)}
    call = {"encoder_hidden_states": states["prompt_embeds"], "added_cond_kwargs": extra}
    with torch.no_grad(), pipeline.slot, pipeline._steps.paused():
        off = unet(latents, 500, **call).sample
        features = adapter.encode(picture(1))
        with adapter.active(0.0):
            call["added_cond_kwargs"] = {**extra, "image_embeds": [features[1:]]}
            on = unet(latents, 500, **call).sample
    difference = float((on - off).abs().max())
    print(f"IP-Adapter at scale 0 against none: largest difference {difference:.1e}")  # noqa: T201
    assert difference < 1e-5


def test_the_result_is_that_of_diffusers_own_call(pipeline):
    style = StyleImage(image=picture(1), scale=0.7)
    request = request_for(pipeline, style, negative_text="dark")
    ours = pixels(generate(pipeline, request))
    base, adapter = pipeline._base, pipeline.style_adapter()
    base.scheduler = type(base.scheduler).from_config(base.scheduler.config)
    base.image_encoder = adapter._encoder
    try:
        with pipeline._steps.paused(), adapter.active(0.7):
            theirs = base(
                prompt="a red chair",
                negative_prompt="dark",
                ip_adapter_image=style.image,
                num_inference_steps=2,
                guidance_scale=4.0,
                generator=torch.Generator("cpu").manual_seed(3),
            ).images[0]
    finally:
        base.image_encoder = None
    assert np.abs(ours[0] - np.asarray(theirs).astype(int)).max() <= 1


def test_control_tokens_and_style_work_at_once(pipeline):
    table = pipeline.text_encoder.get_input_embeddings().weight
    query = plain_query(pipeline, "a red chair")
    embeddings = query.prompt_embeddings.clone()
    embeddings[2] = 3.0 * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0))
    composed = replace(
        query, prompt_embeddings=embeddings, pseudo_tokens=embeddings[2:3], pseudo_positions=(2,)
    )
    style = StyleImage(image=picture(1))
    full = GenerateRequest(query=composed, control_sketch=SKETCH, style=style, settings=SETTINGS)
    without = (
        replace(full, query=query),
        replace(full, control_sketch=None),
        replace(full, style=None),
    )
    drawn = pixels(generate(pipeline, full))
    for request in without:
        assert np.abs(pixels(generate(pipeline, request)) - drawn).mean() > 0


def test_the_levers_pause_for_a_style_and_come_back(sd15):
    style = request_for(sd15, StyleImage(image=picture(1)))
    other = request_for(sd15, StyleImage(image=picture(1), scale=0.2))
    controlled = replace(request_for(sd15), control_sketch=SKETCH)
    expected = [pixels(generate(sd15, one)) for one in (style, controlled, other)]
    with sd15.slot:
        levers = Levers(graph=True, fused_projections=True, cache_interval=2)
        sd15.set_levers(levers, StepTools(record=Recorder()))
    try:
        drawn = [pixels(generate(sd15, one)) for one in (style, controlled, other)]
    finally:
        with sd15.slot:
            sd15.set_levers(DEFAULT)
    assert np.abs(drawn[0] - expected[0]).max() <= 2
    assert np.abs(drawn[2] - expected[2]).max() <= 2
    again = [pixels(generate(sd15, one)) for one in (style, controlled, other)]
    assert all(np.abs(one - two).max() <= 1 for one, two in zip(again, expected, strict=True))


@pytest.mark.parametrize("offload", [Offload.MODEL, Offload.SEQUENTIAL])
def test_models_that_leave_the_card_take_a_style_where_they_leave_in_one_piece(folders, offload):
    files = source(folders, "sd15", ADAPTERS["sd15"])
    asked = request_for(ImagePipeline.load(files), StyleImage(image=picture(1)))
    expected = pixels(generate(ImagePipeline.load(files), asked))
    plan = MemoryPlan(offload=offload, tiles=False, has_text_on_card=False, peak_bytes=0)
    models = open_models(files, torch.float32)
    moving = ImagePipeline._of_models(models, tiny.TEXT_HASH, torch.device("cpu"), plan)
    if offload is Offload.MODEL:
        for _ in range(2):
            assert np.abs(pixels(generate(moving, asked)) - expected).max() <= 1
        return
    with pytest.raises(RequestError, match="the memory plan loads it layer by layer"):
        generate(moving, asked)


def test_a_transfer_takes_a_style_and_guidance_may_be_off(sd15):
    shared = {"query": plain_query(sd15, "a chair"), "source": picture(3), "strength": 0.8}
    settings = replace(SETTINGS, num_inference_steps=4, guidance_scale=1.0)
    plain = TransferRequest(**shared, settings=settings)
    styled = replace(plain, style=StyleImage(image=picture(1)))
    assert not np.array_equal(pixels(transfer(sd15, plain)), pixels(transfer(sd15, styled)))


def test_a_batch_takes_one_style(sd15):
    style = StyleImage(image=picture(1))
    several = pixels(generate(sd15, request_for(sd15, style, num_images=2)))
    second = pixels(generate(sd15, request_for(sd15, style, seed=4)))
    assert np.abs(several[1] - second[0]).max() <= 1
    with pytest.raises(RequestError, match="are drawn one at a time"):
        generate_each(sd15, [request_for(sd15, style)])


def test_a_kit_without_an_adapter_takes_no_style(folders):
    pipeline = ImagePipeline.load(source(folders, "sd15"))
    with pytest.raises(RequestError, match="This kit has no IP-Adapter"):
        generate(pipeline, request_for(pipeline, StyleImage(image=picture(1))))


@pytest.mark.parametrize("scale", [-0.1, 2.1, float("nan")])
def test_a_style_out_of_range_or_not_rgb_is_refused(scale):
    with pytest.raises(RequestError, match="`ip_adapter_scale` must be a number from 0 to 2"):
        StyleImage(image=picture(1), scale=scale)
    with pytest.raises(RequestError, match="must be RGB, got mode L"):
        StyleImage(image=picture(1).convert("L"))


def test_an_adapter_without_its_encoder_is_one_sentence_before_anything_is_loaded(
    folders, tmp_path
):
    folder = tmp_path / "adapters"
    shutil.copytree(folders["adapters"], folder)
    shutil.rmtree(folder / "models" / "image_encoder")
    broken = replace(
        source(folders, "sd15"),
        folder=_without_weights(folders["sd15"], tmp_path / "sd15"),
        style=style_source(folder, ADAPTERS["sd15"]),
    )
    with pytest.raises(StyleError, match="reads pictures through an image encoder, and there is"):
        ImagePipeline.load(broken)


def _without_weights(folder, target):
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))


def test_an_adapter_of_other_models_is_refused_by_name(folders, tmp_path):
    def load(adapter, folder=folders["adapters"]):
        style = style_source(folder, adapter)
        return ImagePipeline.load(replace(source(folders, "sd15"), style=style))

    with pytest.raises(StyleError, match=r"for a UNet that reads .* width 72, the kit's .* 32"):
        load(ADAPTERS["sdxl"])
    with pytest.raises(StyleError, match="reads image features of width 40, the image encoder in"):
        load("sdxl_models/ip-adapter_sdxl.safetensors")
    with pytest.raises(StyleError, match="is a pickle"):
        load("models/ip-adapter_sd15.bin")
    folder = tmp_path / "adapters"
    shutil.copytree(folders["adapters"], folder)
    whole = load_file(folder / ADAPTERS["sd15"])
    save_file({"stranger": torch.zeros(2)}, folder / ADAPTERS["sd15"])
    with pytest.raises(StyleError, match="is no IP-Adapter"):
        load(ADAPTERS["sd15"], folder)
    face = {**whole, "image_proj.perceiver_resampler.proj_in.weight": torch.zeros(2, 2)}
    save_file(face, folder / ADAPTERS["sd15"])
    with pytest.raises(StyleError, match="reads features of faces"):
        load(ADAPTERS["sd15"], folder)
    fewer = {name: one for name, one in whole.items() if not name.startswith("ip_adapter.1.")}
    save_file(fewer, folder / ADAPTERS["sd15"])
    pipeline = load(ADAPTERS["sd15"], folder)
    plain = pixels(generate(pipeline, request_for(pipeline)))
    with pytest.raises(StyleError, match="adapts 9 layers, the kit's UNet has 10"):
        generate(pipeline, request_for(pipeline, StyleImage(image=picture(1))))
    assert np.array_equal(pixels(generate(pipeline, request_for(pipeline))), plain)


def test_an_image_encoder_that_lacks_weights_is_refused(folders, tmp_path):
    folder = tmp_path / "adapters"
    shutil.copytree(folders["adapters"], folder)
    file = folder / "models" / "image_encoder" / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "visual_projection" not in n}, file)
    style = style_source(folder, ADAPTERS["sd15"])
    pipeline = ImagePipeline.load(replace(source(folders, "sd15"), style=style))
    with pytest.raises(PipelineError, match=r"lack visual_projection\.weight, which would"):
        generate(pipeline, request_for(pipeline, StyleImage(image=picture(1))))
    config = folder / "models" / "image_encoder" / "config.json"
    config.write_text(json.dumps([]))
    with pytest.raises(StyleError, match="is no JSON object"):
        ImagePipeline.load(replace(source(folders, "sd15"), style=style))
