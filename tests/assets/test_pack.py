"""A tiny pack and a tiny gallery are made, can be resumed, and say what their readers expect."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from assets.catalogue import engine, gallery, pack, plan, record, words
from assets.catalogue.__main__ import main
from assets.catalogue.sheet import read_pictures, sheet

pytest.importorskip("mitsuba", reason="rendering needs the extra `catalogue`")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A pack of the first validation design and the first training design."""
    folder = tmp_path_factory.mktemp("pack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "SPP", 1)
        train = plan.catalogue(plan.Split.TRAIN)[:1]
        validation = plan.catalogue(plan.Split.VALIDATION)[:1]
        patch.setattr(pack, "catalogue", lambda *_: (*validation, *train))
        pack.pack(pack.PackOptions(out=folder, num_workers=1))
    return folder


def test_a_pack_has_the_promised_rows(small: Path) -> None:
    table = pq.read_table(small / "images-000.parquet")
    assert table.schema.equals(record.IMAGES)
    rows = table.to_pylist()
    photos = [r for r in rows if r["domain"] == "photo"]
    assert len([r for r in photos if r["split"] == "validation"]) == 4
    assert len([r for r in photos if r["split"] == "train"]) == 8
    named = [r for r in rows if r["domain"] != "photo"]
    assert len(named) == 2
    assert all(r["split"] == "train" and r["domain"] in words.DOMAINS for r in named)
    assert len({r["id"] for r in rows}) == len(rows)


def test_rows_agree_with_themselves(small: Path) -> None:
    for row in pq.read_table(small / "images-000.parquet").to_pylist():
        image = np.array(Image.open(io.BytesIO(row["image"])))
        parts = np.array(Image.open(io.BytesIO(row["parts"])))
        assert image.shape == (128, 128, 3)
        assert parts.shape == (128, 128)
        assert len(row["part_names"]) == len(row["part_finishes"]) == len(row["part_colours"])
        assert set(range(1, len(row["part_names"]) + 1)) <= set(np.unique(parts).tolist())
        assert row["kind"] in row["caption"]
        assert row["kind"] not in row["attributes"]
        for colour, finish in zip(row["part_colours"], row["part_finishes"], strict=True):
            assert colour in finish.split()


def test_sketches_come_in_three_skills(small: Path) -> None:
    rows = pq.read_table(small / "sketches-000.parquet").to_pylist()
    assert [r["skill"] for r in rows] == [0, 1, 2] * 2
    for row in rows:
        points = [p for stroke in json.loads(row["strokes"]) for p in stroke]
        assert 0 <= np.min(points) <= np.max(points) <= 255


def test_a_stopped_pack_goes_on_where_it_was(small: Path) -> None:
    designs = [*plan.catalogue(plan.Split.VALIDATION)[:1], *plan.catalogue(plan.Split.TRAIN)[:1]]
    folder = small / "designs"
    assert all(pack.is_done(design, folder) for design in designs)
    assert not pack.is_done(plan.catalogue(plan.Split.TRAIN)[1], folder)
    assert not list(small.rglob("*.unfinished"))


def test_parts_are_numbered_as_they_are_said() -> None:
    part_ids = np.array([[0, 1, 2, 3]], np.uint8)
    numbered = record.part_map(part_ids, ["legs", "feet", "seat"], ["seat", "legs"])
    assert numbered.tolist() == [[0, 2, 3, 1]]


def test_every_fourth_training_view_has_a_domain_and_all_domains_come_round() -> None:
    designs = [d for d in plan.designs("stool") if d.split is plan.Split.TRAIN]
    domains = [pack.domain_of(d, index) for d in designs for index in range(8)]
    named = [d for d in domains if d is not None]
    assert len(named) == len(domains) / 4
    assert set(named) == set(words.DOMAINS) - {"photo"}


def test_a_gallery_is_made_with_its_tables(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gallery, "IMAGE_PX", 128)
    monkeypatch.setattr(gallery, "PARTS_PX", 64)
    out = tmp_path / "gallery"
    options = gallery.GalleryOptions(out=out, work=tmp_path / "w", spp=1, num_workers=1, limit=1)
    gallery.gallery(options)
    items = pq.read_table(out / "items.parquet").to_pylist()
    assert len(items) == 4
    assert len({i["skill"] for i in items}) == 1
    for item in items:
        picture = Image.open(io.BytesIO((out / item["path"]).read_bytes()))
        assert picture.size == (128, 128)
    parts = pq.read_table(out / "parts.parquet").to_pylist()
    assert [p["id"] for p in parts] == [i["id"] for i in items]
    assert len(pq.read_table(out / "sketches.parquet")) == 3
    images, labels = read_pictures(out, 3)
    assert sheet(images, 3, labels).size == (3 * 128, 142)


def test_the_command_line_answers_in_one_sentence(tmp_path: Path, capsys) -> None:
    code = main(["sheet", str(tmp_path), "--out", str(tmp_path / "s.png")])
    assert code == 2
    assert "holds no pictures" in capsys.readouterr().err
    assert main(["preview", "spaceship", "--out", "x.png"]) == 2
    assert "no kind" in capsys.readouterr().err


def test_the_command_line_says_when_rendering_is_slow(monkeypatch, capsys) -> None:
    monkeypatch.setenv(engine.LLVM_VARIABLE, "")
    assert main(["preview", "spaceship", "--out", "x.png"]) == 2
    assert capsys.readouterr().err.startswith("LLVM 19 was not found")
