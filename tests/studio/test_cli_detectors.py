"""`--control-from`: the lines of a photo steer a drawing, by command line."""

import json

import pytest
from PIL import Image

from generation.provenance import read_png, rebuild_request

pytest.importorskip("cv2", reason="the extra `control` is not installed")

from tests.replicas.detectors import ANNOTATORS, write_detectors
from tests.replicas.layout import read_folder
from tests.studio.kit_world import duet, kit_world
from tests.studio.tiny_kit import write_kit

pytestmark = pytest.mark.kits


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    (folder / "kit").mkdir()
    write_kit(folder / "kit")
    photo = Image.new("RGB", (96, 96), (240, 240, 240))
    photo.paste((20, 20, 60), (32, 32, 64, 64))
    photo.save(folder / "photo.png")
    (folder / "strokes.json").write_text("[[[0.1, 0.1], [0.9, 0.9]]]")
    files = read_folder(write_detectors(folder / "annotators"))
    with kit_world(folder, {ANNOTATORS: files}) as hub:
        hub.folder = folder
        yield hub


def test_detectors_are_fetched_once_and_steer_drawings(world, tmp_path, capsys):
    folder = world.folder
    kit = ("--kit", folder / "kit", "--num-inference-steps", 2, "--seed", 3)
    photo = ("--image", folder / "photo.png", "--text", "red")
    output = tmp_path / "out.png"
    hed = ("generate", *photo, *kit, "--control-from", "hed", "--output", output)
    assert duet(*hed) == 2
    assert "Download it with: duet kits fetch detectors" in capsys.readouterr().err
    assert duet("kits", "fetch", "detectors", "--yes") == 0
    assert "The detectors are on this machine." in capsys.readouterr().out
    assert duet("kits", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["detectors"]
    assert [(part["name"], part["present"]) for part in listed] == [
        ("detector hed", True), ("detector pidinet", True), ("detector lineart", True),
    ]  # fmt: skip
    assert duet(*hed) == 0
    assert rebuild_request(read_png(output)).control is not None
    drawing = ("--sketch", folder / "photo.png", "--control-from", "canny")
    assert duet("generate", *drawing, *kit, "--output", tmp_path / "canny.png") == 0
    lines = rebuild_request(read_png(tmp_path / "canny.png")).control
    assert lines.max() > 200
    to = ("--to", "red", "--control-from", "canny", "--output", tmp_path / "moved.png")
    assert duet("transfer", folder / "photo.png", *to, *kit) == 0
    assert duet("kits", "remove", "detectors") == 0
    assert duet(*hed) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--image", "photo.png", "--control-from", "sobel"), "choose one of: hed, pidinet, line"),
        (("--sketch", "strokes.json", "--control-from", "canny"), "--control-from finds lines in"),
        (("--text", "red", "--control-from", "canny"), "--control-from finds lines in"),
        (
            ("--image", "photo.png", "--control-from", "canny", "--control-image", "photo.png"),
            "not both",
        ),
        (("--image", "photo.png", "--control", "canny"), "choose one of: scribble."),
    ],
)
def test_wrong_choices_are_one_sentence(world, tmp_path, capsys, arguments, sentence):
    folder = world.folder
    named = [folder / one if "." in one else one for one in arguments]
    output = ("--output", tmp_path / "out.png", "--seed", 1)
    assert duet("generate", *named, "--kit", folder / "kit", *output) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert sentence in error
