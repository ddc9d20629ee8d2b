"""`duet generate --best-of`, and the search that comes before it."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from composer.composed import ComposedQuery
from composer.query import Query
from generation.provenance import read_png
from generation.request import DrawingSettings, GenerateRequest
from retrieval.confidence import Calibration, QueryMode, save_calibrations
from studio.best_of import draw_best, picture_features
from studio.cli import main
from studio.engine import Engine
from studio.kits import load_kit
from tests.studio.tiny_kit import write_gallery, write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_gallery(folder / "gallery", write_kit(folder / "kit"))
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(folder / "sketch.png")
    return folder


def run(world, *arguments):
    common = ("--num-inference-steps", 1, "--kit", world / "kit", "--seed", 5)
    return main([str(argument) for argument in (*arguments, *common)])


def calibrate(world, threshold: float):
    """Give the kit a calibration by which every ranking has the probability 0.5."""
    calibration = Calibration(weights=(0.0, 0.0, 0.0, 0.0), bias=0.0, threshold=threshold)
    path = world / "kit" / "composers" / "duet.confidence.json"
    save_calibrations(path, dict.fromkeys(QueryMode, calibration))
    text = (world / "kit" / "kit.toml").read_text()
    line = 'confidence = "composers/duet.confidence.json"\n'
    if line not in text:
        weights = 'weights = "composers/duet.safetensors"\n'
        (world / "kit" / "kit.toml").write_text(text.replace(weights, weights + line))


def test_all_images_are_saved_by_rank_with_both_cosines(world, tmp_path, capsys):
    query = ("--sketch", world / "sketch.png", "--text", "red")
    assert (
        run(world, "generate", *query, "--best-of", 3, "--output", tmp_path / "a.png", "--json")
        == 0
    )
    images = json.loads(capsys.readouterr().out)["images"]
    assert [image["path"] for image in images] == [str(tmp_path / f"a-{n}.png") for n in (1, 2, 3)]
    assert [image["rank"] for image in images] == [1, 2, 3]
    assert sorted(image["seed"] for image in images) == [5, 6, 7]
    scores = [image["score"] for image in images]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    engine = Engine(load_kit(str(world / "kit")))
    for image in images:
        with Image.open(image["path"]) as opened:
            (feature,) = picture_features(engine, [opened.convert("RGB")])
        fields = read_png(tmp_path / f"a-{image['rank']}.png").fields
        assert fields["best_of"] == {
            name: image[name] for name in ("rank", "num_drawn", "reference", "words", "score")
        }
        assert fields["seed"] + fields["index"] == image["seed"]
        composed = engine.compose(Query(text="red"))
        assert composed.words_feature is not None
        assert image["words"] == pytest.approx(float(feature @ composed.words_feature), abs=1e-4)
        assert -1 <= image["reference"] <= 1


def test_a_table_is_printed_and_a_second_run_keeps_its_ranks_together(world, tmp_path, capsys):
    command = ("generate", "--text", "red", "--best-of", 2, "--output", tmp_path / "a.png")
    assert run(world, *command) == 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["rank", "reference", "words", "score", "seed", "file"]
    assert first.split()[:2] == ["1", "-"]
    assert second.split()[-1] == str(tmp_path / "a-2.png")
    assert run(world, *command) == 0
    assert "a-run2-1.png" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "a-1.png", "a-2.png", "a-run2-1.png", "a-run2-2.png",
    ]  # fmt: skip


def test_a_picture_among_several_is_drawn_again_with_its_place(world, tmp_path, capsys):
    arguments = ("generate", "--text", "red", "--best-of", 2, "--output", tmp_path / "a.png")
    assert run(world, *arguments) == 0
    again = ("--kit", world / "kit", "--output", tmp_path / "again.png")
    assert main([str(part) for part in ("rerun", tmp_path / "a-2.png", *again)]) == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "a-2.png").read_bytes()


def test_more_than_a_batch_are_drawn_from_consecutive_seeds(world):
    engine = Engine(load_kit(str(world / "kit")))
    request = GenerateRequest(
        query=engine.compose(Query(text="red")),
        settings=DrawingSettings(seed=3, num_inference_steps=1),
    )
    ranked = draw_best(engine, request, 10)
    assert sorted(picture.seed for picture in ranked) == list(range(3, 13))
    assert [picture.selection.rank for picture in ranked] == list(range(1, 11))
    assert {picture.selection.num_drawn for picture in ranked} == {10}
    features = picture_features(engine, [picture.image for picture in ranked])
    assert torch.allclose(features.norm(dim=1), torch.ones(10), atol=1e-4)
    cosines = features @ request.query.feature
    assert cosines.tolist() == sorted(cosines.tolist(), reverse=True)


@pytest.mark.parametrize("num", [0, -1, 1000])
def test_no_and_too_many_pictures_are_refused_in_one_sentence(world, tmp_path, capsys, num):
    command = ("generate", "--text", "red", "--best-of", num, "--output", tmp_path / "a.png")
    assert run(world, *command) == 2
    said = capsys.readouterr()
    assert said.err == f"duet: --best-of must be a whole number from 1 to 64, got {num:,}.\n"
    assert not said.out
    assert list(tmp_path.iterdir()) == []


def test_two_numbers_of_images_contradict_each_other(world, tmp_path, capsys):
    command = ("generate", "--text", "red", "--best-of", 2, "--num-images", 2, "--output")
    assert run(world, *command, tmp_path / "a.png") == 2
    assert "leave out --num-images" in capsys.readouterr().err


def test_a_query_of_another_encoder_is_refused_before_anything_is_drawn(world, tmp_path, capsys):
    saved = tmp_path / "q.safetensors"
    search = ("search", "--text", "red", "--index", world / "gallery", "--save-query", saved)
    assert main([str(part) for part in (*search, "--kit", world / "kit")]) == 0
    foreign = replace(ComposedQuery.load(saved), gallery_hash="0" * 16)
    foreign.save(saved)
    capsys.readouterr()
    command = ("generate", "--query", saved, "--best-of", 2, "--output", tmp_path / "a.png")
    assert run(world, *command) == 2
    assert "was composed with the encoder 0000000000000000" in capsys.readouterr().err
    assert not (tmp_path / "a-1.png").exists()


def test_a_match_of_the_gallery_is_told_before_the_image_is_drawn(world, tmp_path, capsys):
    calibrate(world, threshold=0.4)
    command = ("generate", "--text", "red", "--index", world / "gallery", "--output")
    assert run(world, *command, tmp_path / "a.png") == 0
    said = capsys.readouterr()
    assert "The gallery already has a match for this query: blob-" in said.err
    assert "(confidence 0.50)" in said.err
    assert said.err.count("\n") == 1
    assert said.out == f"{tmp_path / 'a.png'}\n"
    calibrate(world, threshold=0.6)
    assert run(world, *command, tmp_path / "b.png") == 0
    assert capsys.readouterr().err == ""


def test_a_gallery_that_was_named_must_be_there_and_the_shipped_one_need_not_fit(
    world, tmp_path, capsys
):
    calibrate(world, threshold=0.4)
    command = ("generate", "--text", "red", "--output", tmp_path / "a.png")
    assert run(world, *command, "--index", tmp_path / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(world, *command) == 0
    assert capsys.readouterr().err == ""
