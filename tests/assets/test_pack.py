"""A tiny pack and a tiny gallery are made, can be resumed, and say what their readers expect."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from assets.catalogue import engine, gallery, lighting, pack, plan, record, words
from assets.catalogue.__main__ import main
from assets.catalogue.sheet import read_pictures, sheet

pytest.importorskip("mitsuba", reason="rendering needs the extra `catalogue`")

IMAGE_PX = 96


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A pack of the first validation design and the first training design."""
    folder = tmp_path_factory.mktemp("pack")
    with pytest.MonkeyPatch.context() as patch:
        train = plan.catalogue(plan.Split.TRAIN)[:1]
        validation = plan.catalogue(plan.Split.VALIDATION)[:1]
        patch.setattr(pack, "catalogue", lambda *_: (*validation, *train))
        pack.pack(pack.PackOptions(out=folder, image_px=IMAGE_PX, spp=1, num_workers=1))
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
        assert image.shape == (IMAGE_PX, IMAGE_PX, 3)
        assert parts.shape == (IMAGE_PX, IMAGE_PX)
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


def test_each_row_says_how_its_picture_was_taken(small: Path) -> None:
    designs = {d.id: d for d in plan.catalogue(plan.Split.TRAIN, plan.Split.VALIDATION)[: 16 * 7]}
    for row in _rows(small):
        views = {shot.id: shot.view for shot in plan.shots(designs[row["design"]])}
        shot_id = row["id"].removesuffix(f"-{row['domain']}")
        view = views[shot_id]
        taken = [row["azimuth"], row["elevation"], row["margin"]]
        camera = view.camera
        assert taken == pytest.approx([camera.azimuth, camera.elevation, camera.margin])
        assert row["studio"] == pytest.approx(lighting.studio_numbers(view))
        assert len(row["studio"]) == len(lighting.STUDIO_NUMBERS)
        assert row["view"] == words.view_phrase(camera.azimuth, camera.elevation)
        assert row["framing"] == words.framing_phrase(camera.margin)
        assert all(f"seen {row['view']}" in text for text in row["view_captions"])
        assert not any("seen" in text for text in (row["caption"], *row["paraphrases"]))


def test_each_drawing_lies_on_its_own_picture_and_on_no_other_view(small: Path) -> None:
    rows = [r for r in _rows(small) if r["split"] == "train"]
    borders = [_borders(r) for r in rows]
    own = [_distance(r, b) for r, b in zip(rows, borders, strict=True)]
    assert max(own) < 1.5  # pixels of the small picture: the hand shakes
    for i, row in enumerate(rows):
        others = [j for j, other in enumerate(rows) if other["azimuth"] != row["azimuth"]]
        assert own[i] < 0.5 * np.mean([_distance(row, borders[j]) for j in others])


def test_the_hands_of_the_drawings_differ(small: Path) -> None:
    rows = _rows(small)
    assert {r["skill"] for r in rows} == set(plan.SKILLS)
    assert len({r["drawing"] for r in rows}) == len(rows)


def test_a_folder_of_other_pictures_is_refused(small: Path, monkeypatch) -> None:
    first = plan.catalogue(plan.Split.VALIDATION)[:1]
    monkeypatch.setattr(pack, "catalogue", lambda *_: first)
    with pytest.raises(ValueError, match=f"of {IMAGE_PX} px from another plan"):
        pack.pack(pack.PackOptions(out=small, image_px=IMAGE_PX + 1, num_workers=1))
    with pytest.raises(ValueError, match="Choose another folder"):
        pack.pack(pack.PackOptions(out=small, image_px=IMAGE_PX, num_workers=1))


def test_a_folder_that_says_nothing_of_its_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "designs").mkdir()
    (tmp_path / "designs" / "chair-0015.images.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="pictures from another plan"):
        pack.pack(pack.PackOptions(out=tmp_path, num_workers=1, limit=1))


def test_a_folder_of_pictures_of_another_quality_is_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes((small / "plan.json").read_bytes())
    assert json.loads((small / "plan.json").read_text())["spp"] == 1
    options = pack.PackOptions(out=tmp_path, image_px=IMAGE_PX, spp=2, num_workers=1, limit=1)
    with pytest.raises(ValueError, match=f"not those of {IMAGE_PX} px and 2 samples asked for"):
        pack.pack(options)


def test_pictures_have_at_least_one_sample(tmp_path: Path, capsys) -> None:
    assert main(["pack", "--out", str(tmp_path), "--spp", "0"]) == 2
    assert "`spp` must be at least 1, got 0" in capsys.readouterr().err


def test_pictures_have_a_sensible_size(tmp_path: Path, capsys) -> None:
    code = main(["pack", "--out", str(tmp_path), "--image-px", "8"])
    assert code == 2
    assert "`image_px` must be from 96 to 1024, got 8" in capsys.readouterr().err


def test_the_whole_plan_has_twelve_thousand_pictures() -> None:
    designs = plan.catalogue(plan.Split.TRAIN, plan.Split.VALIDATION)
    domains = [pack.domain_of(d, i) for d in designs for i in range(len(plan.shots(d)))]
    assert len(domains) + sum(domain is not None for domain in domains) >= 12_000


def _rows(folder: Path) -> list[record.Row]:
    return pq.read_table(folder / "images-000.parquet").to_pylist()


def _borders(row: record.Row) -> np.ndarray:
    """Distance of each pixel to the nearest border of a part."""
    parts = np.array(Image.open(io.BytesIO(row["parts"])))
    borders = np.zeros(parts.shape, bool)
    borders[1:] |= parts[1:] != parts[:-1]
    borders[:, 1:] |= parts[:, 1:] != parts[:, :-1]
    return np.asarray(distance_transform_edt(~borders))


def _distance(row: record.Row, away: np.ndarray) -> float:
    """Median distance of a drawing's points from the borders of a part map, in pixels."""
    points = np.vstack([np.array(stroke) for stroke in json.loads(row["drawing"])])
    at = np.clip((points / 255 * len(away)).astype(int), 0, len(away) - 1)
    return float(np.median(away[at[:, 1], at[:, 0]]))


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
