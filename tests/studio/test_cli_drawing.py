"""Drawing from the command line, on a kit of a few thousand weights."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from generation.provenance import read_png
from studio.cli import main
from tests.pictures import noise
from tests.studio.tiny_kit import write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_kit(folder / "kit")
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(folder / "sketch.png")
    noise((70, 70), 80).convert("RGB").save(folder / "photo.jpg")
    return folder


def run(world, *arguments):
    common = ("--num-inference-steps", 2, "--kit", world / "kit", "--json")
    return main([str(argument) for argument in (*arguments, *common)])


def test_generate_saves_every_image_with_its_provenance_and_repeats_bytes(world, tmp_path, capsys):
    arguments = ("generate", "--sketch", world / "sketch.png", "--text", "red", "--seed", 5)
    assert run(world, *arguments, "--num-images", 2, "--output", tmp_path / "a.png") == 0
    paths = [image["path"] for image in json.loads(capsys.readouterr().out)["images"]]
    assert paths == [str(tmp_path / "a-0.png"), str(tmp_path / "a-1.png")]
    assert read_png(tmp_path / "a-1.png").fields["seed"] == 5
    assert run(world, *arguments, "--num-images", 2, "--output", tmp_path / "b.png") == 0
    for number in (0, 1):
        first, second = (tmp_path / f"{name}-{number}.png" for name in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_without_a_seed_a_random_one_is_drawn_and_printed(world, tmp_path, capsys):
    arguments = ("generate", "--text", "red", "--output")
    assert run(world, *arguments, tmp_path / "a.png") == 0
    told = capsys.readouterr()
    seed = json.loads(told.out)["images"][0]["seed"]
    assert f"--seed {seed} draws the same again" in told.err
    assert run(world, *arguments, tmp_path / "b.png") == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["seed"] != seed
    assert run(world, *arguments, tmp_path / "c.png", "--seed", seed) == 0
    assert "seed" not in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_an_image_of_any_size_is_drawn_at_the_kit_s_and_enlarged(world, tmp_path, capsys):
    arguments = ("generate", "--sketch", world / "sketch.png", "--seed", 5, "--output")
    assert run(world, *arguments, tmp_path / "a.png", "--size", "300x200") == 0
    sentence = "Drawn at 80 x 56 pixels, about what the kit has learned, and resized to 300 x 200"
    assert sentence in capsys.readouterr().err
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (300, 200)
    assert run(world, *arguments, tmp_path / "b.png", "--size", "96x64") == 0
    assert "resized" not in capsys.readouterr().err
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (96, 64)
    for size in ("banana", "0x64", "64"):
        with pytest.raises(SystemExit, match="2"):
            run(world, *arguments, tmp_path / "c.png", "--size", size)
        assert "a size must be WIDTHxHEIGHT" in capsys.readouterr().err
    for size in ("300x20", "9000x9000"):
        assert run(world, *arguments, tmp_path / "c.png", "--size", size) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "c.png").exists()


def test_words_that_are_not_read_or_not_known_are_told(world, tmp_path, capsys):
    arguments = ("generate", "--output", tmp_path / "a.png", "--text")
    assert run(world, *arguments, "blue " * 190 + "red", "--negative-text", "blue " * 190) == 0
    told = capsys.readouterr().err
    assert "on it is not read" in told
    assert told.count("too long for this kit") == 2
    assert run(world, *arguments, "a red zebra") == 0
    assert "“zebra” is unknown" in capsys.readouterr().err
    assert run(world, *arguments, "a (red:1.3) стул", "--negative-text", "[blue]") == 0
    told = capsys.readouterr().err
    for part in ("“стул” may mean", "“[blue]” is read"):
        assert part in told
    assert "(red:1.3)" not in told  # it counts


def test_transfer_takes_a_photo_and_words(world, tmp_path, capsys):
    output = tmp_path / "out.png"
    arguments = ("transfer", world / "photo.jpg", "--to", "watercolour", "--output", output)
    assert run(world, *arguments) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["path"] == str(output)
    assert read_png(output).fields["kind"] == "transfer"


def test_a_kit_of_one_step_takes_more_for_a_transfer(world, tmp_path):
    quick = tmp_path / "quick"
    quick.mkdir()
    (quick / "kit.toml").write_text(
        f'base = "{world / "kit"}"\nname = "quick"\n'
        "[drawing]\nnum_inference_steps = 1\nnum_transfer_steps = 5\nguidance_scale = 1.0\n"
    )
    kit = ("--kit", str(quick), "--output")
    image, moved = (str(tmp_path / name) for name in ("image.png", "moved.png"))
    assert main(["generate", "--text", "a red chair", *kit, image]) == 0
    assert main(["transfer", str(world / "photo.jpg"), "--to", "night", *kit, moved]) == 0
    steps = [read_png(Path(file)).fields["num_inference_steps"] for file in (image, moved)]
    assert steps == [1, 5]


def test_a_missing_or_unknown_domain_is_refused(world, tmp_path, capsys):
    output = tmp_path / "out.png"
    arguments = ("transfer", world / "photo.jpg", "--output", output, "--to")
    assert run(world, *arguments, "  ") == 2
    assert "Name the domain to move the image into" in capsys.readouterr().err
    kit = tmp_path / "kit"
    shutil.copytree(world / "kit", kit)
    (kit / "kit.toml").write_text('domains = ["oak"]\n' + (kit / "kit.toml").read_text())
    assert main([*map(str, (*arguments, "Oak", "--kit", kit))]) == 0  # whatever words it knows
    output.unlink()
    assert main([*map(str, (*arguments, "zzyzx", "--kit", kit))]) == 2
    said = capsys.readouterr().err
    assert "does not know the domain 'zzyzx'; choose one of oak" in said
    assert not output.exists()


def test_a_domain_of_the_kit_is_found_in_every_spelling(world, tmp_path):
    kit = tmp_path / "kit"
    shutil.copytree(world / "kit", kit)
    (kit / "kit.toml").write_text('domains = ["oak-colour"]\n' + (kit / "kit.toml").read_text())
    shown: list[bytes] = []
    for number, name in enumerate(("oak-colour", "Oak Color", "OAK_COLOUR", " oakcolor")):
        output = tmp_path / f"{number}.png"
        command = ("transfer", world / "photo.jpg", "--to", name, "--kit", kit, "--output", output)
        assert main([*map(str, command), "--seed", "3"]) == 0
        shown.append(Image.open(output).convert("RGB").tobytes())
    assert len(set(shown)) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--guidance-scale", "nan"), "`guidance_scale` must be a number from 1 to 30, got nan"),
        (("--num-images", "9"), "`num_images` must be a whole number from 1 to 8, got 9"),
        (("--seed", "-1"), "`seed` must be a whole number"),
        (("--finish-noise", "2"), "`finish_noise` must be a number from 0 to 1, got 2"),
    ],
)
def test_numbers_out_of_range_are_named_and_nothing_is_saved(
    world, tmp_path, capsys, arguments, sentence
):
    output = tmp_path / "out.png"
    assert run(world, "generate", "--text", "red", "--output", output, *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not output.exists()
