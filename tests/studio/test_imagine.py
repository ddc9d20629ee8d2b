"""The imagined picture as query: `duet search --imagine`, and its benchmark."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import Sketch
from generation.request import GenerateRequest, settings_of
from retrieval.refine import averaged_with_pictures
from studio import galleries
from studio.best_of import picture_features
from studio.cli import main
from studio.commands import bench, bench_gallery, bench_imagine
from studio.engine import Engine
from studio.imagine import Imagination, imagine
from studio.kits import load_kit
from tests.retrieval.tiny_world import write_world
from tests.studio.tiny_kit import write_gallery, write_kit

FAST = "\n[drawing]\nnum_inference_steps = 2\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    write_gallery(folder / "gallery", kit)
    write_world(folder / "assets" / "gallery", Backbone.load(kit / "clip"))
    with (kit / "kit.toml").open("a") as file:
        file.write(FAST)
    return folder


@pytest.fixture(scope="module")
def engine(world):
    return Engine(load_kit(str(world / "kit")))


def search(world, capsys, *options):
    where = ("--index", world / "gallery", "--kit", world / "kit", "--json")
    code = main([str(part) for part in ("search", "--text", "red", *where, *options)])
    said = capsys.readouterr()
    assert code == 0, said.err
    return [(hit["id"], hit["similarity"]) for hit in json.loads(said.out)["hits"]]


def test_the_mean_of_pictures_counts_by_how_much_they_agree():
    x, y, z = torch.eye(3)
    assert torch.allclose(averaged_with_pictures(x, y[None]), functional.normalize(x + y, dim=0))
    apart = averaged_with_pictures(x, torch.stack([y, z]))
    assert torch.allclose(apart, functional.normalize(x + (y + z) / 2, dim=0))
    assert apart @ x > averaged_with_pictures(x, y[None]) @ x
    assert torch.equal(averaged_with_pictures(x, torch.stack([y, -y])), x)


def test_the_query_is_averaged_with_the_pictures_of_its_seeds(engine):
    sketch = Sketch.from_json("[[[0.1, 0.1], [0.9, 0.2]], [[0.5, 0.5], [0.5, 0.9]]]")
    query = engine.compose(Query(sketch=sketch, text="red"))
    found = imagine(engine, query, sketch, Imagination(num=2, seed=3))
    request = GenerateRequest(
        query=query, control_sketch=sketch, settings=settings_of(engine.kit.drawing, seed=4)
    )
    (second,) = engine.generate(request).images
    ours, theirs = (np.asarray(image).astype(int) for image in (found.images[1], second.image))
    assert np.abs(ours - theirs).max() <= 1
    expected = averaged_with_pictures(query.feature, picture_features(engine, found.images))
    assert torch.allclose(found.query.feature, expected)
    assert torch.equal(found.query.both_feature, query.both_feature)
    assert found.query.feature.norm() == pytest.approx(1, abs=1e-5)


def test_search_ranks_by_the_average_and_repeats_itself(world, engine, tmp_path, capsys):
    saved, sheet = tmp_path / "q.safetensors", tmp_path / "sheet.png"
    plain = search(world, capsys)
    assert search(world, capsys, "--imagine", 2, "--save-query", saved) != plain
    hits = search(world, capsys, "--imagine", 2, "--sheet", sheet)
    moved = imagine(engine, engine.compose(Query(text="red")), None, Imagination(num=2)).query
    assert torch.allclose(ComposedQuery.load(saved).feature, moved.feature, atol=1e-5)
    ranking = engine.search(moved, world / "gallery" / ".duet")
    assert [id_ for id_, _ in hits] == [hit.id for hit in ranking.hits]
    assert search(world, capsys, "--imagine", 2, "--seed", 9) != hits
    with Image.open(sheet) as opened:
        assert opened.height > 3 * 200  # two imagined pictures and ten hits, five in a row


def test_search_says_that_imagined_pictures_of_words_alone_find_less(world, tmp_path, capsys):
    drawing = tmp_path / "drawing.json"
    drawing.write_text("[[[0, 0], [1, 1], [0, 1]]]")
    for options, is_said in (
        ((), False),
        (("--imagine", 1), True),
        (("--imagine", 1, "--sketch", drawing), False),
    ):
        where = ("--index", world / "gallery", "--kit", world / "kit")
        assert main([str(part) for part in ("search", "--text", "red", *where, *options)]) == 0
        said = capsys.readouterr().err
        assert ("imagined pictures find less than the words do" in said) == is_said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--imagine", 0), "--imagine must be a whole number from 1 to 64, got 0"),
        (("--imagine", 1000), "--imagine must be a whole number from 1 to 64, got 1,000"),
        (("--imagine", 1, "--composer", "basic"), "compares reference and words one by one"),
    ],
)
def test_what_cannot_be_imagined_is_one_sentence(world, capsys, options, sentence):
    where = ("--index", world / "gallery", "--kit", world / "kit")
    assert main([str(part) for part in ("search", "--text", "red", *where, *options)]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not said.out


def test_a_kit_that_does_not_draw_says_so(world, tmp_path, capsys):
    kit = write_kit(tmp_path / "kit", draws=False)
    where = ("--index", world / "gallery", "--kit", kit, "--imagine", 1)
    assert main([str(part) for part in ("search", "--text", "red", *where)]) == 2
    assert "does not draw" in capsys.readouterr().err


def test_the_benchmark_compares_the_same_queries_with_and_without(world, monkeypatch, capsys):
    for module in (galleries, bench, bench_gallery, bench_imagine):
        monkeypatch.setattr(module, "assets_folder", lambda: world / "assets")
    command = ("bench", "retrieval", "--imagine", 2, "--steps", 1, "--kit", world / "kit", "--json")
    assert main([str(part) for part in command]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    splits = {(row["query"], row["split"], row["num_queries"]) for row in rows}
    assert splits == {
        (query, split, num)
        for query in ("sketch", "text", "sketch+text")
        for split, num in (("seen", 3), ("unseen", 1))
    }
    by_key = {(r["search"], r["query"], r["rerank"], r["split"]): r for r in rows}
    for (name, *key), row in by_key.items():
        if name != "imagined minus plain":
            continue
        plain, imagined = (by_key[(one, *key)] for one in ("plain", "imagined"))
        for k in (1, 5, 10):
            difference = imagined[f"acc@{k}"] - plain[f"acc@{k}"]
            assert row[f"acc@{k}"] == pytest.approx(difference)
            assert row[f"acc_{k}_low"] <= difference + 1e-9
            assert row[f"acc_{k}_high"] >= difference - 1e-9
        assert row["wins"] is (row["acc_1_low"] > 0)
        assert imagined["num_imagined"] == 2
    assert main([str(part) for part in (*command[:2], "--imagine", 0, *command[4:])]) == 2
    assert "--imagine must be" in capsys.readouterr().err
