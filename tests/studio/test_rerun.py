"""Drawing an image again from its PNG."""

import json
import shutil

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from generation.provenance import CHUNK, read_png
from studio.cli import main
from studio.engine import Engine
from studio.kits import load_kit
from tests.pictures import noise
from tests.studio.tiny_kit import add_finisher, write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_kit(folder / "kit")
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(folder / "sketch.png")
    noise((70, 70), 80).save(folder / "photo.png")
    drawn = ("--num-inference-steps", 2, "--kit", folder / "kit", "--seed", 5)
    query = ("--sketch", folder / "sketch.png", "--text", "red", "--balance", 0.6)
    run("generate", *query, *drawn, "--num-images", 2, "--output", folder / "generated.png")
    run("transfer", folder / "photo.png", "--to", "oak", *drawn, "--output", folder / "moved.png")
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def change(source, target, **changes):
    """Copy a PNG with other metadata."""
    fields = read_png(source).fields | changes
    chunks = PngInfo()
    chunks.add_text(CHUNK, json.dumps(fields))
    with Image.open(source) as image:
        image.save(target, pnginfo=chunks)
    return target


@pytest.fixture(scope="module")
def finishing(world, tmp_path_factory):
    """A kit whose drawings are finished by another denoiser."""
    folder = tmp_path_factory.mktemp("finishing")
    return add_finisher(shutil.copytree(world / "kit", folder, dirs_exist_ok=True))


def test_a_finished_image_comes_out_equal_to_the_byte(world, finishing, tmp_path, capsys):
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--output")
    moved = ("transfer", world / "photo.png", "--to", "oak")
    made: dict[str, bytes] = {}
    for name, command in (
        ("finished", ("generate", "--text", "red")),
        ("plain", ("generate", "--text", "red", "--finish-noise", 0)),
        ("moved", moved),
        ("moved and finished", (*moved, "--finish-noise", 0.5)),
        ("faithful", (*moved, "--faithful", "--finish-noise", 0.5)),
    ):
        image, again = (tmp_path / f"{name}{end}.png" for end in ("", "-again"))
        assert run(*command, "--kit", finishing, *drawn, image) == 0
        source = ("--source", world / "photo.png") if "transfer" in command else ()
        assert run("rerun", image, "--kit", finishing, *source, "--output", again) == 0
        assert again.read_bytes() == image.read_bytes()
        made[name] = Image.open(image).tobytes()
        fields = read_png(image).fields
        assert fields.get("finish_noise", 0.0) == (0.0 if name in ("plain", "moved") else 0.5)
    assert made["finished"] != made["plain"]
    assert made["moved and finished"] != made["moved"]
    capsys.readouterr()
    output = tmp_path / "other.png"
    image = tmp_path / "finished.png"
    assert run("rerun", image, "--kit", world / "kit", "--output", output) == 2
    assert "was drawn with other weights" in capsys.readouterr().err
    assert run("generate", "--text", "red", "--kit", world / "kit", *drawn, output) == 0
    command = ("generate", "--text", "red", "--kit", world / "kit", "--finish-noise", 0.5)
    assert run(*command, *drawn, tmp_path / "none.png") == 2
    assert "This kit has no finisher. Set `finish_noise` to 0." in capsys.readouterr().err
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("index", [0, 1])
def test_a_generated_image_comes_out_equal_to_the_byte(world, tmp_path, capsys, index):
    image, output = world / f"generated-{index}.png", tmp_path / "again.png"
    assert run("rerun", image, "--kit", world / "kit", "--output", output, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"images": [{"path": str(output), "seed": 5 + index}]}
    assert said.err == ""
    assert output.read_bytes() == image.read_bytes()


def test_a_transferred_image_needs_its_source(world, tmp_path, capsys):
    output = tmp_path / "again.png"
    arguments = ("rerun", world / "moved.png", "--kit", world / "kit", "--output", output)
    assert run(*arguments) == 2
    assert "--source IMAGE" in capsys.readouterr().err
    assert run(*arguments, "--source", world / "sketch.png") == 2
    assert "not the image that was transferred" in capsys.readouterr().err
    assert not output.exists()
    assert run(*arguments, "--source", world / "photo.png") == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert output.read_bytes() == (world / "moved.png").read_bytes()


def test_a_faithful_transfer_is_another_and_comes_out_equal(world, tmp_path):
    faithful, again = tmp_path / "faithful.png", tmp_path / "again.png"
    kit = ("--kit", world / "kit")
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--output", faithful)
    assert run("transfer", world / "photo.png", "--to", "oak", "--faithful", *drawn, *kit) == 0
    assert read_png(faithful).fields["is_faithful"] is True
    source = ("--source", world / "photo.png")
    assert run("rerun", faithful, *source, *kit, "--output", again) == 0
    assert again.read_bytes() == faithful.read_bytes()
    with Image.open(faithful) as one, Image.open(world / "moved.png") as other:
        assert one.tobytes() != other.tobytes()


def test_a_faithful_transfer_needs_a_kit_of_many_steps(world, tmp_path, capsys):
    kit, output = tmp_path / "few", tmp_path / "out.png"
    shutil.copytree(world / "kit", kit)
    with (kit / "kit.toml").open("a") as file:
        file.write("[drawing]\nnum_inference_steps = 4\n")
    asked = ("transfer", world / "photo.png", "--to", "oak", "--faithful", "--kit", kit)
    assert run(*asked, "--output", output) == 2
    assert "draws in a few jumps that cannot be followed back" in capsys.readouterr().err
    assert not output.exists()


def test_a_file_without_metadata_is_refused_in_a_sentence(world, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    for name, sentence in (
        ("plain.png", "does not say how it was made"),
        ("photo.jpg", "no PNG"),
        ("nothing.png", "There is no file nothing.png"),
    ):
        assert run("rerun", tmp_path / name, "--output", tmp_path / "again.png") == 2
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert not said.out
    assert not (tmp_path / "again.png").exists()


def test_another_kit_is_refused(world, tmp_path, capsys):
    image, output = world / "generated-0.png", tmp_path / "again.png"
    assert run("rerun", image, "--output", output) == 2
    assert "was drawn with the kit 'tiny', which does not ship" in capsys.readouterr().err
    assert run("rerun", image, "--kit", "mini", "--output", output) == 2
    assert "was drawn with other weights" in capsys.readouterr().err
    folder = change(image, tmp_path / "folder.png", kit=str(world / "kit"))
    assert run("rerun", folder, "--output", output) == 2
    assert "does not ship" in capsys.readouterr().err
    kit = tmp_path / "searches"
    shutil.copytree(world / "kit", kit)
    lines = (kit / "kit.toml").read_text()
    (kit / "kit.toml").write_text(lines.split("[pipeline]")[0])
    assert run("rerun", image, "--kit", kit, "--output", output) == 2
    assert "does not draw" in capsys.readouterr().err
    assert not output.exists()


def test_another_device_is_pointed_out(world, tmp_path, capsys):
    image = change(world / "generated-0.png", tmp_path / "gpu.png", device="cuda/bfloat16")
    output = tmp_path / "again.png"
    assert run("rerun", image, "--kit", world / "kit", "--output", output) == 0
    device = Engine(load_kit(str(world / "kit"))).pipeline.device_name
    assert f"drawn on cuda/bfloat16, not {device}" in capsys.readouterr().err
    with Image.open(output) as again, Image.open(world / "generated-0.png") as before:
        assert again.tobytes() == before.tobytes()


def test_what_a_forged_picture_says_does_not_steer_the_terminal(world, tmp_path, capsys):
    device = "\x1b[31mgpu\x9b2J\u202e"
    image = change(world / "generated-0.png", tmp_path / "forged.png", device=device)
    arguments = ("--kit", world / "kit", "--output", tmp_path / "again.png")
    assert run("rerun", image, *arguments) == 0
    assert "drawn on \\x1b[31mgpu\\x9b2J\\u202e, not" in capsys.readouterr().err


@pytest.mark.parametrize("index", [2, -1, True, "0", None])
def test_a_forged_position_in_the_batch_is_refused(world, tmp_path, capsys, index):
    image = change(world / "generated-0.png", tmp_path / "forged.png", index=index)
    arguments = ("--kit", world / "kit", "--output", tmp_path / "again.png")
    assert run("rerun", image, *arguments) == 2
    assert "names no image of its batch" in capsys.readouterr().err


def test_the_output_is_checked_first(world, tmp_path, capsys):
    arguments = ("rerun", world / "generated-0.png", "--kit", world / "kit", "--output")
    assert run(*arguments, tmp_path / "again.jpg") == 2
    assert "must end in .png" in capsys.readouterr().err
