"""`duet rerun` with the PNGs of other programs: what is followed, and what is told."""

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from generation.provenance import read_png
from studio.cli import main
from tests.studio.tiny_kit import add_finisher, write_kit

PARAMETERS = (
    "a red chair\nNegative prompt: fog\n"
    "Steps: 2, Sampler: Euler a, CFG scale: 2.5, Seed: 77, Size: 128x64, Model: dr\x1b[31meam"
)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return write_kit(tmp_path_factory.mktemp("world") / "kit")


def write(path, **chunks):
    info = PngInfo()
    for key, text in chunks.items():
        info.add_text(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_words_and_numbers_are_followed_and_the_rest_is_told(kit, tmp_path, capsys):
    image, output = write(tmp_path / "a.png", parameters=PARAMETERS), tmp_path / "b.png"
    assert run("rerun", image, "--kit", kit, "--output", output, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"images": [{"path": str(output), "seed": 77}]}
    first, *notes = said.err.splitlines()
    assert first.endswith("was drawn by A1111, so the image will be another one: its settings are "
                          "followed with the kit 'tiny'.")  # fmt: skip
    assert notes[:2] == [
        "duet: Not followed, Sampler: Euler a.",
        "duet: Not followed, Model: dr\\x1b[31meam.",
    ]
    assert notes[2].startswith("duet: Not followed, size: 128 x 64; it is 88 x 48 here")
    fields = read_png(output).fields
    assert fields["query"]["text"] == "a red chair"
    assert fields["negative_text"] == "fog"
    assert (fields["seed"], fields["num_inference_steps"], fields["guidance_scale"]) == (77, 2, 2.5)
    assert (fields["width"], fields["height"]) == (88, 48)
    again = tmp_path / "c.png"
    assert run("rerun", output, "--kit", kit, "--output", again) == 0
    assert again.read_bytes() == output.read_bytes()


def test_a_kit_finishes_what_another_program_began(tmp_path):
    kit = add_finisher(write_kit(tmp_path / "kit"))
    image, output = write(tmp_path / "a.png", parameters=PARAMETERS), tmp_path / "b.png"
    assert run("rerun", image, "--kit", kit, "--output", output) == 0
    assert read_png(output).fields["finish_noise"] == 0.5


def test_numbers_out_of_range_are_the_kit_s_own(kit, tmp_path, capsys):
    values = {"positive_prompt": "red", "seed": 2**63, "steps": 2, "cfg_scale": 99}
    image = write(tmp_path / "a.png", invokeai_metadata=json.dumps(values))
    assert run("rerun", image, "--kit", kit, "--output", tmp_path / "b.png") == 0
    said = capsys.readouterr().err
    assert "Not followed, seed: 9223372036854775808 is not in" in said
    assert "Not followed, guidance: 99.0 is not in 1.0 to 30.0; it is 3.0 here." in said
    assert "names no size" in said
    assert read_png(tmp_path / "b.png").fields["seed"] == 0


def test_a_long_prompt_is_cut_and_said_to_be(kit, tmp_path, capsys):
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"steps": 1, "positive": ["2", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "red " * 300}},
    }
    image = write(tmp_path / "a.png", prompt=json.dumps(graph))
    assert run("rerun", image, "--kit", kit, "--output", tmp_path / "b.png") == 0
    said = capsys.readouterr().err
    assert "Not followed, the words beyond 1,000 characters." in said
    assert "The PNG names no seed; it is 0 here." in said


def test_what_cannot_be_followed_is_one_sentence(kit, tmp_path, capsys):
    output = tmp_path / "out.png"
    bare = json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 1}}})
    for chunks, options, sentence in (
        ({"prompt": bare}, (), "settings of ComfyUI in this PNG have no words"),
        ({"parameters": "x" * 10_000_000}, (), "parameters has more than 4 MiB"),
        ({"workflow": "[" * 1_000_000}, (), "not valid JSON"),
        ({"parameters": PARAMETERS}, ("--source", output), "without --source"),
    ):
        image = write(tmp_path / "a.png", **chunks)
        assert run("rerun", image, "--kit", kit, "--output", output, *options) == 2
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert not output.exists()
