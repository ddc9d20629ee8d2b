"""A picture that steers the style, on the page of a kit with an IP-Adapter."""

import gradio as gr
import pytest
import torch
from PIL import Image

from generation.provenance import read_png
from studio.ui.app import build_page
from studio.ui.calls import functions_of
from tests.generation.tiny import make_pipeline
from tests.pictures import noise
from tests.replicas.adapters import write_adapter, write_image_encoder
from tests.studio.page import HOUSE, World, make_handlers, shared_world, visitor
from tests.studio.test_ui_handlers import silent
from tests.studio.tiny_kit import write_kit

STYLED = ["style", "style_scale"]
ADAPTER = """
[ip_adapter]
path = "adapter"
adapter = "adapter.safetensors"
image_encoder = "image_encoder"
"""


@pytest.fixture(scope="module")
def handlers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styled")
    kit = write_kit(folder / "kit")
    torch.manual_seed(0)
    unet = make_pipeline(folder / "scratch").unet
    write_adapter(kit / "adapter" / "adapter.safetensors", unet)
    write_image_encoder(kit / "adapter" / "image_encoder")
    with (kit / "kit.toml").open("a") as file:
        file.write(ADAPTER)
    world = World(kit=kit, index=shared_world(tmp_path_factory).index)
    return make_handlers(world, tmp_path_factory.mktemp("served"))


@pytest.fixture
def picture(handlers):
    path = handlers.context.folder / "style.png"
    noise((40, 40), 40).convert("RGB").save(path)
    return str(path)


def pixels(path):
    with Image.open(path) as image:
        return image.tobytes()


def drawn(handlers, **style):
    """Draw one picture; return its PNG."""
    dials = (0.5, 7, 2, 3.0, 1, None, False)
    filled = handlers.generate(
        HOUSE, "red", *dials, (), (), request=visitor(), progress=silent, **style
    )
    return filled[1][0].file


def moved(handlers, source, **style):
    """Transfer a picture into the night; return the PNG."""
    dials = ("night", "", 0.6, 0, False, "", (), "", False, False, "", 1)
    before_and_after, _, _ = handlers.transfer(
        source, *dials, request=visitor(), progress=silent, **style
    )
    return before_and_after[1]


def test_a_picture_steers_what_is_generated_and_transferred(handlers, picture):
    for draw in (drawn, lambda *args, **style: moved(*args, picture, **style)):
        plain, styled = draw(handlers), draw(handlers, style=picture, style_scale=1.5)
        assert "style" not in read_png(plain).fields
        assert read_png(styled).fields["style"]["scale"] == 1.5
        assert pixels(styled) != pixels(plain)


@pytest.mark.parametrize(
    ("style", "scale", "sentence"),
    [
        (None, 9.0, "`ip_adapter_scale` must be a number from 0 to 2, got 9"),
        (None, "much", "The strength of the style must be a number, got 'much'"),
        ("/elsewhere/style.png", 0.5, "was not uploaded to this page"),
    ],
)
def test_bad_styles_are_refused(handlers, picture, style, scale, sentence):
    with pytest.raises(gr.Error, match=sentence):
        drawn(handlers, style=style or picture, style_scale=scale)


def parameters_of(handlers):
    info = build_page(handlers).get_api_info()
    return {
        name: [one["parameter_name"] for one in endpoint["parameters"]]
        for name, endpoint in info["named_endpoints"].items()
    }


def test_only_kits_with_an_adapter_have_the_inputs_and_they_are_the_last(
    handlers, tmp_path_factory
):
    plain = make_handlers(shared_world(tmp_path_factory), tmp_path_factory.mktemp("plain"))
    styled, others = parameters_of(handlers), parameters_of(plain)
    for name in ("/transfer", "/generate"):
        assert styled[name] == [*others[name], *STYLED]
    assert styled["/retrieve"] == others["/retrieve"]
    functions = functions_of(build_page(handlers), "draw").values()
    uploads = {function.name: sum(function.pictures) for function in functions if function.name}
    assert uploads == {"retrieve": 0, "transfer": 2, "generate": 1}


def test_gradio_passes_the_inputs_in_their_order(handlers):
    """Its own arguments stand between ours."""
    from gradio.helpers import special_args

    values = [f"input {number}" for number in range(len(STYLED) + 11)]
    inputs = special_args(handlers.generate, list(values), request=visitor())[0]
    assert inputs[11] != values[11]
    assert inputs[-2:] == values[-2:]
