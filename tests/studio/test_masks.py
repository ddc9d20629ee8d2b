"""`duet transfer` of one part of a picture: painted, a box, or named by words."""

import json

import numpy as np
import pytest
from PIL import Image

from composer.images import open_image
from generation.masking import Mask
from generation.provenance import read_png
from studio.engine import Engine
from studio.kits import load_kit
from studio.mask_words import mask_of_words
from tests.pictures import noise
from tests.studio.kit_world import duet
from tests.studio.tiny_kit import write_kit

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_kit(folder / "kit")
    noise((120, 80), 80).convert("RGB").save(folder / "photo.png")
    return folder


def transfer(world, source, output, *options):
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--to", "oak", "--kit", world / "kit")
    return duet("transfer", source, *drawn, "--output", output, *options)


def said(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("duet: ")


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(
    ("size", "orientation"), [((64, 48), 1), ((150, 260), 6), ((900, 500), 3), ((333, 410), 5)]
)
def test_outside_the_mask_every_byte_stays(world, tmp_path, size, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    noise(size, 80).convert("RGB").save(tmp_path / "photo.jpg", exif=exif, quality=95)
    upright = np.asarray(open_image(tmp_path / "photo.jpg"))
    height, width = upright.shape[:2]
    painted = np.zeros((height, width), np.uint8)
    painted[height // 3 : height // 2, width // 4 : width // 2] = 255
    Image.fromarray(painted).save(tmp_path / "mask.png")
    options = ("--mask", tmp_path / "mask.png")
    assert transfer(world, tmp_path / "photo.jpg", tmp_path / "a.png", *options) == 0
    inside, made = painted > 0, pixels(tmp_path / "a.png")
    assert made.shape == upright.shape
    assert (made[~inside] == upright[~inside]).all()
    assert (made[inside] != upright[inside]).mean() > 0.5
    assert transfer(world, tmp_path / "photo.jpg", tmp_path / "b.png", *options, "--outside") == 0
    made = pixels(tmp_path / "b.png")
    assert (made[inside] == upright[inside]).all()
    assert (made[~inside] != upright[~inside]).mean() > 0.5


def test_a_box_is_the_mask_that_is_painted_so(world, tmp_path):
    painted = np.zeros((80, 120), np.uint8)
    painted[20:50, 30:80] = 255
    Image.fromarray(painted).save(tmp_path / "mask.png")
    photo = world / "photo.png"
    assert transfer(world, photo, tmp_path / "a.png", "--mask", tmp_path / "mask.png") == 0
    assert transfer(world, photo, tmp_path / "b.png", "--box", 30, 20, 50, 30) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_words_mark_where_their_evidence_is_strongest(world, tmp_path):
    engine = Engine(load_kit(str(world / "kit")))
    picture = open_image(world / "photo.png")
    chair, lamp = (mask_of_words(engine, picture, f"the {noun}") for noun in ("chair", "lamp"))
    assert chair.cells.shape == (80, 120)
    assert (chair.cells != lamp.cells).any()
    assert transfer(world, world / "photo.png", tmp_path / "a.png", "--where", "the chair") == 0
    same = pixels(tmp_path / "a.png") == np.asarray(picture)
    assert same[~chair.cells].all()
    assert not same[chair.cells].all()


def test_words_on_a_wide_picture_reach_its_sides(world):
    """Evidence alone looks at the central square."""
    engine = Engine(load_kit(str(world / "kit")))
    levels = np.full((60, 240, 3), 128, np.uint8)
    levels[:, :60] = np.asarray(noise((60, 60), 80).convert("RGB"))
    cells = mask_of_words(engine, Image.fromarray(levels), "a red chair").cells
    assert cells.shape == (60, 240)
    assert cells[:, :90].any() or cells[:, 150:].any()


@pytest.mark.parametrize(
    "part",
    [
        ("--box", 7, 9, 61, 40), ("--where", "the chair"), ("--where", "the chair", "--outside"),
        ("--box", 7, 9, 61, 40, "--best-of", 1),
    ],
)  # fmt: skip
def test_a_rerun_draws_the_part_again(world, tmp_path, part):
    photo, again = world / "photo.png", tmp_path / "again.png"
    assert transfer(world, photo, tmp_path / "a.png", *part) == 0
    (image,) = tmp_path.glob("a*.png")
    kit = ("--kit", world / "kit", "--source", photo, "--output", again)
    assert duet("rerun", image, *kit) == 0
    assert again.read_bytes() == image.read_bytes()
    fields = read_png(image).fields
    assert fields["mask_columns"] == 120


def test_a_rerun_needs_the_very_source_and_a_sound_mask(world, tmp_path, capsys):
    image = tmp_path / "a.png"
    assert transfer(world, world / "photo.png", image, "--box", 7, 9, 61, 40) == 0
    levels = pixels(world / "photo.png").copy()
    levels[79, 119] ^= 1  # far from the mask
    Image.fromarray(levels).save(tmp_path / "other.png")
    capsys.readouterr()
    kit = ("--kit", world / "kit", "--output", tmp_path / "again.png")
    assert duet("rerun", image, *kit, "--source", tmp_path / "other.png") == 2
    assert "not the image that was transferred" in said(capsys)


def test_several_images_keep_the_rest_each(world, tmp_path, capsys):
    options = ("--box", 10, 10, 40, 40, "--num-images", 2, "--json")
    assert transfer(world, world / "photo.png", tmp_path / "a.png", *options) == 0
    paths = [image["path"] for image in json.loads(capsys.readouterr().out)["images"]]
    first, second = (pixels(path) for path in paths)
    assert (first != second).any()
    outside = ~Mask.of_pixels(np.ones((80, 120), bool)).cells
    outside[:, 60:] = True
    for made in (first, second):
        assert (made[outside] == pixels(world / "photo.png")[outside]).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--mask", "black.png"), "The mask is empty"),
        (("--mask", "white.png", "--outside"), "The mask is empty"),
        (("--mask", "square.png"), "square.png must have the proportions of the picture"),
        (("--mask", "none.png"), "none.png cannot be read"),
        (("--mask", "white.png", "--box", 0, 0, 5, 5), "Give one of --mask, --box and --where"),
        (("--outside",), "--outside inverts a mask"),
        (("--box", 0, 0, 0, 9), "The mask is empty"),
        (("--box", 100, 0, 21, 9), "must lie in the picture, which is 120 x 80 px"),
        (("--where", " "), "Name the part"),
        (("--where", "the"), "names no part of a picture"),
        (("--box", 0, 0, 9, 9, "--control-from", "canny"), "leave out --control-image"),
    ],
)
def test_a_mask_that_cannot_be_used_is_one_sentence(world, tmp_path, capsys, options, sentence):
    for name, size, colour in (
        ("black", (120, 80), 0), ("white", (120, 80), 255), ("square", (80, 80), 255),
    ):  # fmt: skip
        Image.new("L", size, colour).save(tmp_path / f"{name}.png")
    given = [tmp_path / part if str(part).endswith(".png") else part for part in options]
    assert transfer(world, world / "photo.png", tmp_path / "out.png", *given) == 2
    assert sentence in said(capsys)
    assert not (tmp_path / "out.png").exists()
