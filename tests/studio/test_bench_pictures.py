"""The pictures to look at: fixed queries, a kit's usual settings, five settings of the balance."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from composer.data import qmul
from composer.data.qmul import open_chairv2
from generation.defaults import DrawingDefaults
from generation.request import settings_of
from retrieval.benchmarks import catalogue
from studio.cli import main
from studio.commands import bench_pictures
from studio.commands.bench_pictures import BALANCES, catalogue_queries, peoples_chairs
from studio.engine import Engine
from studio.kit_file import assets_folder
from studio.kits import load_kit
from tests.composer.data.test_qmul import write_strokes
from tests.studio.tiny_kit import write_kit

GALLERY = assets_folder() / "gallery"


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = write_kit(tmp_path_factory.mktemp("kit") / "kit")
    file = folder / "kit.toml"
    file.write_text(file.read_text() + "[drawing]\nnum_inference_steps = 2\n")
    return folder


def test_there_is_one_query_of_each_kind_in_training_and_always_the_same():
    queries = catalogue_queries(GALLERY)
    protocol = catalogue.read_queries(GALLERY)
    assert [query.kind for query in queries] == sorted(
        {case.kind for case in protocol.cases if case.trained_kind}
    )
    assert len(queries) == 16
    assert not any(query.kind in query.words for query in queries)
    again = catalogue_queries(GALLERY)
    assert [query.words for query in again] == [query.words for query in queries]
    assert len({query.words for query in queries}) == 16


def test_peoples_chairs_are_held_out_ones(tmp_path, monkeypatch):
    folder = write_strokes(tmp_path / "data")
    monkeypatch.setattr(bench_pictures.archives, "CHAIRV2", folder.name)
    monkeypatch.setattr(qmul.heldout, "chairv2_is_held_out", lambda stem: stem == "0015")
    chairs = peoples_chairs(folder.parent)
    assert len(chairs) == 8
    held_out = open_chairv2(folder)
    drawn = next(d for d in held_out.drawings if d.instance == "0015")
    assert np.array_equal(chairs[0].sketch.strokes[0], held_out.sketch(drawn).strokes[0])
    assert {(chair.kind, chair.drawn_by) for chair in chairs} == {("chair", "person")}
    assert all(chair.colour in chair.words and chair.part in chair.words for chair in chairs)


def test_each_drawing_is_shown_beside_its_picture(kit, tmp_path, monkeypatch, capsys):
    queries = catalogue_queries(GALLERY)[:2]
    monkeypatch.setattr(bench_pictures, "catalogue_queries", lambda _: queries)
    sheet = tmp_path / "sheet.png"
    asked = ["bench", "pictures", "--kit", str(kit), "--sheet", str(sheet), "--json"]
    assert main(asked) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["kind"] for row in rows] == [query.kind for query in queries]
    assert all(0 <= row["sketch_agreement"] <= 1 for row in rows)
    with Image.open(sheet) as drawn:
        assert drawn.width > 4 * 192


def test_the_kits_usual_settings_are_drawn_with(kit):
    engine = Engine(load_kit(str(kit)))
    queries = catalogue_queries(GALLERY)[:1]
    two = bench_pictures.draw(engine, queries, 0.5, 0)[0]
    other = replace(engine.kit, drawing=DrawingDefaults(num_inference_steps=3))
    three = bench_pictures.draw(Engine(other), queries, 0.5, 0)[0]
    assert not np.array_equal(np.asarray(two), np.asarray(three))
    usual = DrawingDefaults(num_inference_steps=1, guidance_scale=1.0)
    settings = settings_of(usual, seed=7)
    assert (settings.num_inference_steps, settings.guidance_scale, settings.seed) == (1, 1.0, 7)


def test_the_balance_is_drawn_at_five_settings(kit, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    asked = ["bench", "balance", "--kit", str(kit), "--count", "2", "--sheet", str(sheet), "--json"]
    assert main(asked) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["balance"] for row in rows] == list(BALANCES)
    assert all(row["num_queries"] == 2 for row in rows)
    assert len({row["sketch_agreement"] for row in rows}) > 1
    assert sheet.exists()


def test_a_count_that_is_not_positive_is_refused(kit, capsys):
    for count in ("0", "-3"):
        assert main(["bench", "balance", "--kit", str(kit), "--count", count]) == 2
        assert "--count must be at least 1" in capsys.readouterr().err
