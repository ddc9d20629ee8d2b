"""Control networks by name, from replicas of their repositories."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from generation.control import control_image, fit_control, line_share
from generation.controls import LINE_SHARES, ControlKind, ControlSource
from generation.generate import generate
from generation.model_files import PipelineSource
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.provenance import describe, read_png, rebuild_request, write_png
from generation.request import DrawingSettings, GenerateRequest, RequestError, TransferRequest
from generation.transfer import transfer
from tests.generation import tiny
from tests.replicas import clips, pipelines

pytestmark = pytest.mark.kits


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    clip = clips.write_clip_l14(folder / "clip")
    return {
        "sd15": pipelines.write_sd15(folder / "sd15", clip),
        "sdxl": pipelines.write_sdxl(folder / "sdxl", clip),
        "scribble": pipelines.write_sd15_scribble(folder / "scribble"),
        "lineart": pipelines.write_sd15_scribble(folder / "lineart", seed=1),
        "union": pipelines.write_sdxl_union(folder / "union"),
    }


def load(folders, name, control=None):
    source = PipelineSource(
        folder=folders[name],
        text_hash=tiny.TEXT_HASH,
        controlnet=None if control is None else folders[control],
    )
    return ImagePipeline.load(source)


@pytest.fixture(scope="module")
def sd15(folders):
    pipeline = load(folders, "sd15", "scribble")
    pipeline.add_control(
        "lineart", ControlSource(folder=folders["lineart"], kind=ControlKind.LINEART)
    )
    pipeline.add_control("depth", ControlSource(folder=folders["lineart"], kind=ControlKind.DEPTH))
    return pipeline


@pytest.fixture(scope="module")
def sdxl(folders):
    pipeline = load(folders, "sdxl")
    for kind in ControlKind:
        pipeline.add_control(str(kind), ControlSource(folder=folders["union"], kind=kind))
    return pipeline


def query_for(pipeline):
    width = pipeline.text_encoder.config.hidden_size
    generator = torch.Generator().manual_seed(0)
    return tiny.make_query(
        prompt_embeddings=0.5 * torch.randn(77, width, generator=generator),
        pseudo_tokens=torch.zeros(1, width),
    )


def request_for(pipeline, name, *, num_images=1, **parts):
    settings = DrawingSettings(num_inference_steps=2, control_name=name, num_images=num_images)
    parts = parts or {"control_sketch": tiny.make_sketch()}
    return GenerateRequest(query=query_for(pipeline), settings=settings, **parts)


def drawn(pipeline, request):
    return [picture.image.tobytes() for picture in generate(pipeline, request).images]


def test_a_named_control_network_draws_thinner_lines_with_weights_of_its_own(sd15):
    scribble = generate(sd15, request_for(sd15, ""))
    lineart = generate(sd15, request_for(sd15, "lineart"))
    assert scribble.control is not None
    assert lineart.control is not None
    assert (lineart.control > 0).sum() < 0.8 * (scribble.control > 0).sum()
    assert scribble.weights_hash == sd15.weights_hash != lineart.weights_hash
    same_lines = request_for(sd15, "lineart", control=scribble.control)
    assert drawn(sd15, same_lines) != drawn(sd15, request_for(sd15, "", control=scribble.control))


def test_lines_are_as_thick_as_the_kind_wants_them():
    widths = [
        (control_image(tiny.make_sketch(), 512, 512, line_share(kind)) > 0).sum()
        for kind in LINE_SHARES
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 3 * widths[-1] > 0
    with pytest.raises(RequestError, match="depth follows no lines"):
        line_share(ControlKind.DEPTH)


def test_depth_wants_an_image_and_a_name_wants_something_to_follow(sd15):
    with pytest.raises(RequestError, match="depth follows no lines"):
        generate(sd15, request_for(sd15, "depth"))
    with pytest.raises(RequestError, match="'lineart' has nothing to follow"):
        generate(sd15, request_for(sd15, "lineart", control=None))
    with pytest.raises(RequestError, match="'canny' was not loaded"):
        generate(sd15, request_for(sd15, "canny"))
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    depth = fit_control(ramp, 64, 64)
    flat = request_for(sd15, "depth", control=np.full_like(depth, 128))
    assert drawn(sd15, request_for(sd15, "depth", control=depth)) != drawn(sd15, flat)


def test_one_union_network_is_told_what_it_follows(sdxl):
    lines = control_image(tiny.make_sketch(), 64, 64)
    by_kind = {
        kind: drawn(sdxl, request_for(sdxl, str(kind), control=lines))[0] for kind in ControlKind
    }
    assert by_kind[ControlKind.LINEART] == by_kind[ControlKind.CANNY]  # one type of the network
    assert len(set(by_kind.values())) == 3
    two = drawn(sdxl, request_for(sdxl, "canny", control=lines, num_images=2))
    assert len(set(two)) == 2
    plain = sdxl._controls.model("canny")
    assert all(sdxl._controls.model(str(kind)) is plain for kind in ControlKind)
    assert sdxl._controls.step_models == (plain,)


def test_a_union_network_follows_the_edges_of_what_is_transferred(sdxl):
    source = Image.new("RGB", (64, 64), (200, 30, 30))
    source.paste((20, 20, 200), (16, 16, 48, 48))
    settings = DrawingSettings(num_inference_steps=2, control_name="canny")
    request = TransferRequest(query=query_for(sdxl), source=source, settings=settings)
    result = transfer(sdxl, request)
    assert result.control.any()
    off = dataclasses.replace(settings, controlnet_conditioning_scale=0.0)
    without = transfer(sdxl, dataclasses.replace(request, settings=off))
    assert result.images[0].image.tobytes() != without.images[0].image.tobytes()


def test_a_control_network_of_another_family_is_refused(sd15, sdxl, folders):
    with pytest.raises(PipelineError, match=r"is a ControlNetModel_Union, the pipeline takes a"):
        sd15.add_control("union", ControlSource(folder=folders["union"]))
    with pytest.raises(PipelineError, match="control network expects text of width 32"):
        sdxl.add_control("lineart-15", ControlSource(folder=folders["lineart"]))
    assert sdxl.control_kind("lineart-15") is None


def test_a_grey_control_image_and_its_network_are_in_the_provenance(sd15, tmp_path):
    depth = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))
    request = request_for(sd15, "depth", control=depth)
    result = generate(sd15, request)
    write_png(tmp_path / "out.png", result.images[0].image, describe(result, 0))
    again = rebuild_request(read_png(tmp_path / "out.png"))
    assert again.settings.control_name == "depth"
    assert np.array_equal(again.control, depth)
    assert drawn(sd15, again) == [result.images[0].image.tobytes()]


def test_a_png_of_before_there_were_names_is_still_rebuilt(sd15):
    result = generate(sd15, request_for(sd15, ""))
    provenance = describe(result, 0)
    del provenance.fields["control_name"]
    assert rebuild_request(provenance).settings.control_name == ""
