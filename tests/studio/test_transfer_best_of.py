"""`duet transfer --best-of`: images of one transfer in order of source and domain."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from composer.images import open_image
from composer.query import Query
from generation.masking import mask_of_box
from generation.provenance import read_png
from generation.request import TransferRequest
from generation.transfer import visible_part
from studio.best_of import draw_best, picture_features
from studio.engine import Engine
from studio.errors import UsageError
from studio.kits import load_kit
from tests.pictures import noise
from tests.studio.kit_world import duet
from tests.studio.tiny_kit import write_kit

PLACE = ("rank", "num_drawn", "reference", "words", "score")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_kit(folder / "kit")
    noise((120, 80), 80).convert("RGB").save(folder / "photo.png")
    return folder


def transfer(world, output, *options, source=None, to=("--to", "red")):
    drawn = ("--num-inference-steps", 2, "--seed", 5, *to, "--kit", world / "kit")
    return duet("transfer", source or world / "photo.png", *drawn, "--output", output, *options)


@pytest.mark.parametrize("box", [None, (10, 8, 60, 40)])
def test_each_is_scored_by_what_it_was_drawn_from_and_by_the_domain(world, tmp_path, capsys, box):
    options = ("--best-of", 3, "--json", *(() if box is None else ("--box", *box)))
    assert transfer(world, tmp_path / "a.png", *options) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    assert [image["path"] for image in images] == [str(tmp_path / f"a-{n}.png") for n in (1, 2, 3)]
    assert [image["rank"] for image in images] == [1, 2, 3]
    assert sorted(image["seed"] for image in images) == [5, 6, 7]
    scores = [image["score"] for image in images]
    assert scores == sorted(scores, reverse=True)
    engine, photo = Engine(load_kit(str(world / "kit"))), open_image(world / "photo.png")
    mask = None if box is None else mask_of_box(box, 120, 80)
    query = engine.compose(Query(image=visible_part(photo, mask), text="red"))
    for image in images:
        fields = read_png(tmp_path / f"a-{image['rank']}.png").fields
        assert fields["best_of"] == {name: image[name] for name in PLACE}
        assert fields["seed"] + fields["index"] == image["seed"]
        made = open_image(tmp_path / f"a-{image['rank']}.png")
        (feature,) = picture_features(engine, [visible_part(made, mask)])
        cosines = [float(feature @ side) for side in (query.reference_feature, query.words_feature)]
        assert [image["reference"], image["words"]] == pytest.approx(cosines, abs=1e-4)


def test_outside_of_a_mask_each_keeps_its_bytes_and_is_drawn_again(world, tmp_path, capsys):
    assert transfer(world, tmp_path / "a.png", "--best-of", 2, "--box", 10, 8, 60, 40) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["rank", "reference", "words", "score", "seed", "file"]
    assert len(rows) == 2
    inside = mask_of_box((10, 8, 60, 40), 120, 80).pixels(80, 120)
    photo = np.asarray(open_image(world / "photo.png"))
    for rank in (1, 2):
        image, again = tmp_path / f"a-{rank}.png", tmp_path / f"again-{rank}.png"
        assert (np.asarray(open_image(image))[~inside] == photo[~inside]).all()
        kit = ("--kit", world / "kit", "--source", world / "photo.png", "--output", again)
        assert duet("rerun", image, *kit) == 0
        assert again.read_bytes() == image.read_bytes()


def test_more_than_a_batch_are_drawn_with_a_domain_of_examples(world, tmp_path, capsys):
    for number in range(2):
        levels = np.zeros((80, 80, 3), np.uint8)
        levels[:, :: 4 + number] = (255, 60 * number, 0)
        Image.fromarray(levels).save(tmp_path / f"like-{number}.png")
    like = ("--like", tmp_path / "like-0.png", tmp_path / "like-1.png", "--invert")
    options = ("--num-inference-steps", 1, "--strength", 1, "--best-of", 9, "--json")
    assert transfer(world, tmp_path / "a.png", *options, to=like) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    assert sorted(image["seed"] for image in images) == list(range(5, 14))
    assert {image["num_drawn"] for image in images} == {9}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--best-of", 0), "--best-of must be a whole number from 1 to 64, got 0."),
        (("--best-of", 1000), "--best-of must be a whole number from 1 to 64, got 1,000."),
        (("--best-of", -3), "--best-of must be a whole number from 1 to 64, got -3."),
        (("--best-of", 2, "--num-images", 2), "leave out --num-images"),
        (("--best-of", 2, "--box", 0, 0, 0, 9), "The mask is empty"),
    ],
)
def test_a_number_that_cannot_be_is_one_sentence(world, tmp_path, capsys, options, sentence):
    assert transfer(world, tmp_path / "a.png", *options) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert sentence in said.err
    assert not said.out
    assert list(tmp_path.iterdir()) == []


def test_a_folder_and_a_sweep_draw_one_image_each(world, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise((64, 64), 80).convert("RGB").save(folder / "a.png")
    for source, to in ((folder, ("--to", "red")), (world / "photo.png", ("--sweep",))):
        assert transfer(world, tmp_path / "out", "--best-of", 2, source=source, to=to) == 2
        said = capsys.readouterr().err
        assert "leave it out for a folder or with --sweep" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_pictures_that_do_not_fit_in_memory_are_refused_before_anything_is_drawn(world):
    engine = Engine(load_kit(str(world / "kit")))
    large = Image.new("RGB", (6000, 4000))
    query = engine.compose(Query(image=large, text="red"))
    request = TransferRequest(query=query, source=large, keeps_size=True)
    with pytest.raises(UsageError, match=r"23 pictures of 6000 x 4000 px .* at most 22"):
        draw_best(engine, request, 23)


def test_a_query_of_another_encoder_is_refused_before_anything_is_drawn(world):
    engine = Engine(load_kit(str(world / "kit")))
    query = engine.compose(Query(image=open_image(world / "photo.png"), text="red"))
    request = TransferRequest(
        query=replace(query, gallery_hash="0" * 16), source=open_image(world / "photo.png")
    )
    with pytest.raises(UsageError, match="was composed with the encoder 0000000000000000"):
        draw_best(engine, request, 2)
