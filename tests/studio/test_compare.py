"""`duet compare`: two images side by side, and in which settings they differ."""

import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.cli import main
from tests.pictures import noise
from tests.studio.tiny_kit import write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(folder / "sketch.png")
    drawn = ("--num-inference-steps", 1, "--kit", kit)
    run("generate", "--text", "red", "--seed", 5, *drawn, "--output", folder / "a.png")
    more = ("--text", "red oak", "--seed", 6, "--guidance-scale", 2.5, "--negative-text", "fog")
    sketched = ("--sketch", folder / "sketch.png", *more)
    run("generate", *sketched, *drawn, "--output", folder / "b.png")
    info = PngInfo()
    info.add_text("parameters", "red\nSteps: 28, Sampler: Euler, CFG scale: 6, Seed: 5, Size: 8x8")
    Image.new("RGB", (8, 8)).save(folder / "foreign.png", pnginfo=info)
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_only_what_differs_is_listed(world, capsys):
    capsys.readouterr()
    assert run("compare", world / "a.png", world / "b.png", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["differences"]
    by_name = {row["name"]: (row["first"], row["second"]) for row in rows}
    assert by_name.pop("Drawing")[0] == ""
    assert by_name.pop("Control image")[0] == ""
    assert by_name.pop("Guidance")[1] == "2.5"
    assert by_name == {
        "Words": ("red", "red oak"),
        "Seed": ("5", "6"),
        "Negative words": ("", "fog"),
    }


def test_a_line_for_each_difference_or_one_for_none(world, capsys):
    assert run("compare", world / "a.png", world / "b.png") == 0
    assert "Words: red | red oak\n" in capsys.readouterr().out
    assert run("compare", world / "a.png", world / "a.png") == 0
    assert capsys.readouterr().out == "The settings are the same.\n"


def test_the_sheet_has_both_images_at_one_size(world, tmp_path, capsys):
    output = tmp_path / "sheet.png"
    assert run("compare", world / "a.png", world / "b.png", "--output", output) == 0
    with Image.open(output) as opened:
        sheet = np.asarray(opened.convert("RGB"))
    for file, left in ((world / "a.png", 14), (world / "b.png", 14 + 512 + 14)):
        with Image.open(file) as picture:
            large = picture.convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)
        part = sheet[14 : 14 + 512, left : left + 512]
        assert np.abs(part.astype(int) - np.asarray(large).astype(int)).mean() < 2
    table = sheet[14 + 512 + 40 :]
    assert (table < 100).any()
    same = tmp_path / "same.png"
    assert run("compare", world / "a.png", world / "a.png", "--output", same) == 0
    with Image.open(same) as opened:
        assert opened.height < sheet.shape[0]


def test_images_of_other_programs_are_compared_too(world, capsys):
    assert run("compare", world / "a.png", world / "foreign.png", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["differences"]
    by_name = {row["name"]: (row["first"], row["second"]) for row in rows}
    assert by_name["Steps"] == ("1", "28")
    assert by_name["Program"] == ("", "A1111")
    assert by_name["Others"] == ("", "Sampler: Euler")
    assert not {"Words", "Seed"} & set(by_name)


def test_what_has_no_settings_is_one_sentence(world, tmp_path, capsys):
    noise((8, 8), 80).save(tmp_path / "plain.png")
    output = tmp_path / "sheet.png"
    for file, sentence in (
        (tmp_path / "plain.png", "does not say how it was made"),
        (tmp_path / "nothing.png", "There is no file nothing.png"),
    ):
        assert run("compare", world / "a.png", file, "--output", output) == 2
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
    assert not output.exists()
    command = ("compare", world / "a.png", world / "b.png", "--overwrite", "--output")
    assert run(*command, world / "a.png") == 2
    assert "must not be a file that is read" in capsys.readouterr().err
