"""`--lora`: a LoRA file of the user's own as a domain, on the command line and the page."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from composer.files import sha256_of
from generation.lora import LoraSource
from generation.model_files import PipelineSource, open_models
from generation.provenance import read_png
from studio.commands.adapters import parse_scaled_file
from studio.engine import Engine
from studio.kits import load_kit
from studio.ui.app import build_page
from studio.ui.present import loras_line
from tests.replicas.loras import unet_factors, write_kohya
from tests.studio.kit_world import duet
from tests.studio.page import make_handlers, make_world
from tests.studio.test_rerun import change
from tests.studio.tiny_kit import write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    base = open_models(PipelineSource(folder=kit / "pipeline"), torch.float32).base
    for seed, name in enumerate(("ink", "fog")):
        write_kohya(folder / f"{name}.safetensors", unet_factors(base.unet, seed=seed))
    Image.new("RGB", (70, 70), "red").save(folder / "photo.png")
    loras = ("--lora", f"{folder / 'ink.safetensors'}:0.5", "--lora", folder / "fog.safetensors")
    for name, options in (("plain", ()), ("drawn", loras)):
        assert generate(folder, folder / f"{name}.png", *options) == 0
    return folder


def generate(world: Path, output: Path, *options):
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--kit", world / "kit")
    return duet("generate", "--text", "red", *drawn, "--output", output, *options)


def said(capsys) -> str:
    """The one sentence on stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("duet: ")


def test_the_picture_changes_and_says_which_loras_made_it(world):
    assert (world / "plain.png").read_bytes() != (world / "drawn.png").read_bytes()
    plain, drawn = (read_png(world / f"{name}.png").fields for name in ("plain", "drawn"))
    assert "loras" not in plain
    assert plain["weights_hash"] != drawn["weights_hash"]
    assert drawn["loras"] == [
        {"name": f"{name}.safetensors", "sha256": sha256_of(world / f"{name}.safetensors"),
         "scale": scale}
        for name, scale in (("ink", 0.5), ("fog", 1.0))
    ]  # fmt: skip


def test_a_rerun_takes_the_same_files_by_any_name_and_gives_the_same_bytes(world, tmp_path):
    renamed = tmp_path / "other.safetensors"
    renamed.write_bytes((world / "ink.safetensors").read_bytes())
    files = ("--lora", world / "fog.safetensors", "--lora", renamed, "--kit", world / "kit")
    assert duet("rerun", world / "drawn.png", *files, "--output", tmp_path / "again.png") == 0
    again, drawn = tmp_path / "again.png", world / "drawn.png"
    with Image.open(again) as one, Image.open(drawn) as other:
        assert one.tobytes() == other.tobytes()
    named = [lora["name"] for lora in read_png(again).fields["loras"]]
    assert named == ["other.safetensors", "fog.safetensors"]


def test_a_rerun_says_which_file_is_missing_too_much_or_at_another_scale(world, tmp_path, capsys):
    def rerun(image, *files):
        loras = [part for file in files for part in ("--lora", file)]
        output = tmp_path / "again.png"
        assert duet("rerun", image, "--kit", world / "kit", "--output", output, *loras) == 2
        assert not output.exists()
        return said(capsys)

    ink, fog = world / "ink.safetensors", world / "fog.safetensors"
    drawn, plain = world / "drawn.png", world / "plain.png"
    assert "was drawn with the LoRA ink.safetensors (SHA-256" in rerun(drawn)
    assert "give that very file: --lora fog.safetensors" in rerun(drawn, ink)
    assert "was drawn with ink.safetensors at 0.5" in rerun(drawn, f"{ink}:0.7", fog)
    assert "was drawn without ink.safetensors; leave it out" in rerun(plain, ink)
    assert "cannot be read; check the path" in rerun(drawn, tmp_path / "none.safetensors")
    for damage in ({"scale": 99.0}, {"sha256": "../ink"}, {"scale": "much"}):
        lora = {**read_png(drawn).fields["loras"][0], **damage}
        changed = change(drawn, tmp_path / "changed.png", loras=[lora])
        assert "provenance is damaged" in rerun(changed, ink)
    many = change(drawn, tmp_path / "many.png", loras=[lora] * 17)
    assert "provenance is damaged" in rerun(many, ink)


@pytest.mark.parametrize(
    ("scale", "sentence"),
    [
        ("strong", "must be a number, such as ink.safetensors:0.8, got 'strong'"),
        ("", "must be a number"),
        ("9", "The scale of ink.safetensors must be from -5 to 5, got 9"),
        ("nan", "must be from -5 to 5"),
    ],
)
def test_a_scale_that_cannot_be_read_is_one_sentence(world, tmp_path, capsys, scale, sentence):
    option = f"{world / 'ink.safetensors'}:{scale}"
    assert generate(world, tmp_path / "out.png", "--lora", option) == 2
    assert sentence in said(capsys)


def test_a_colon_within_a_path_is_left_alone(tmp_path):
    (tmp_path / "a:1").touch()
    for text, file, scale in (
        ("ink.safetensors", "ink.safetensors", None),
        ("ink.safetensors:-0.8", "ink.safetensors", -0.8),
        ("C:/loras/ink.safetensors", "C:/loras/ink.safetensors", None),
        (str(tmp_path / "a:1"), str(tmp_path / "a:1"), None),
    ):
        parsed = parse_scaled_file(text, "--lora")
        assert (parsed.file, parsed.scale) == (Path(file).absolute(), scale)


def test_a_lora_of_another_model_is_refused_before_anything_is_loaded(world, tmp_path, capsys):
    kit = write_kit(tmp_path / "kit")
    (kit / "clip" / "open_clip_model.safetensors").write_bytes(b"unreadable")
    file = tmp_path / "theirs.safetensors"
    save_file({"lora_unet_down_blocks_0_attn2_to_k.lora_down.weight": torch.zeros(2, 768)}, file)
    sketch = tmp_path / "photo.png"
    Image.new("RGB", (70, 70), "red").save(sketch)
    to = ("--output", tmp_path / "out.png", "--kit", kit, "--lora", file)
    for command in (
        ("generate", "--text", "red", *to),
        ("transfer", sketch, "--to", "red", *to),
        ("demo", "--no-browser", "--kit", kit, "--lora", file),
    ):
        assert duet(*command) == 2
        assert said(capsys) == (
            "theirs.safetensors is a LoRA for Stable Diffusion 1.x, which reads text of width 768; "
            "the kit draws with a UNet that reads text of width 32."
        )


def test_a_kit_that_only_searches_takes_no_lora(world, tmp_path, capsys):
    kit = write_kit(tmp_path / "kit", draws=False)
    file = world / "ink.safetensors"
    assert duet("demo", "--no-browser", "--kit", kit, "--lora", file) == 2
    assert "has no pipeline, so it searches but does not draw" in said(capsys)


def test_the_kits_own_lora_needs_no_option_at_a_rerun(world, tmp_path, capsys):
    kit = write_kit(tmp_path / "kit")
    with (kit / "kit.toml").open("a") as file:
        file.write(
            f"[loras.ink]\npath = {json.dumps(str(world / 'ink.safetensors'))}\nscale = 0.5\n"
        )
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--kit", kit)
    fog = ("--lora", world / "fog.safetensors")
    image, again = tmp_path / "out.png", tmp_path / "again.png"
    assert duet("generate", "--text", "red", *drawn, *fog, "--output", image) == 0
    assert [lora["scale"] for lora in read_png(image).fields["loras"]] == [0.5, 1.0]
    capsys.readouterr()
    assert duet("rerun", image, "--kit", kit, "--output", again) == 2
    assert "give that very file: --lora fog.safetensors" in said(capsys)
    assert duet("rerun", image, "--kit", kit, *fog, "--output", again) == 0
    assert again.read_bytes() == image.read_bytes()


def test_the_page_says_which_loras_are_on(world, tmp_path):
    loras = (LoraSource(file=world / "ink.safetensors", scale=0.5),)
    assert loras_line(loras) == "LoRAs: ink at 0.5."
    assert loras_line(()) == ""
    handlers = make_handlers(make_world(tmp_path / "world"), tmp_path)
    assert "LoRAs:" not in repr(build_page(handlers).config)
    engine = Engine(load_kit(str(world / "kit")), loras=loras)
    object.__setattr__(handlers.context, "engine", engine)
    assert "LoRAs: ink at 0.5." in repr(build_page(handlers).config)
