"""A tiny set of designs in every domain is made, says what it shows, and goes on after a stop."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from assets.catalogue import domain_set, plan, record, words
from assets.catalogue.__main__ import main
from assets.catalogue.pack import painted
from assets.catalogue.render import Render
from tests.assets.synthetic import chair_meshes, orthographic, shaded

pytest.importorskip("mitsuba", reason="rendering needs the extra `catalogue`")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """The first test design, as the command makes it, with one sample a pixel."""
    folder = tmp_path_factory.mktemp("domains")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain_set, "SPP", 1)
        assert main(_command(folder, 1)) == 0
    return folder


def _command(folder: Path, limit: int) -> list[str]:
    out, work = str(folder / "out"), str(folder / "work")
    return ["domains", "--out", out, "--work", work, "--limit", str(limit), "--workers", "1"]


def _rows(folder: Path, name: str) -> list[record.Row]:
    return pq.read_table(folder / "out" / f"{name}.parquet").to_pylist()


def test_a_design_of_a_seen_kind_stands_in_every_domain_once(small: Path) -> None:
    design = plan.catalogue(plan.Split.TEST)[0]
    rows = _rows(small, "domains")
    assert [row["domain"] for row in rows] == list(words.DOMAINS)
    assert {row["design"] for row in rows} == {design.id}
    assert {row["kind"] for row in rows} == {design.kind} <= set(words.SEEN_KINDS)
    assert {row["colourway"] for row in rows} == {design.colourways[0]}
    assert len({row["id"] for row in rows}) == 8
    unnamed = _rows(small, "unnamed")
    assert [row["domain"] for row in unnamed] == list(words.UNNAMED_DOMAINS)
    assert {row["design"] for row in unnamed} == {design.id}
    made = {f"images/{path.name}" for path in (small / "out" / "images").iterdir()}
    assert {row["path"] for row in (*rows, *unnamed)} == made
    pictures = [np.array(Image.open(small / "out" / row["path"])) for row in rows]
    assert {picture.shape for picture in pictures} == {(128, 128, 3)}
    assert len({picture.tobytes() for picture in pictures}) == 8
    blueprint = pictures[words.DOMAINS.index("blueprint")].astype(float)
    assert np.median(blueprint[..., 2]) > np.median(blueprint[..., 0]) + 60


def test_its_sketch_has_the_skill_that_the_plan_fixed(small: Path) -> None:
    design = plan.catalogue(plan.Split.TEST)[0]
    (sketch,) = _rows(small, "sketches")
    assert (sketch["design"], sketch["skill"]) == (design.id, plan.skill_of(design))
    assert sketch["split"] == "test"
    points = [point for stroke in json.loads(sketch["strokes"]) for point in stroke]
    assert 0 <= np.min(points) <= np.max(points) <= 255


def test_a_stopped_run_makes_only_what_is_missing(small: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(domain_set, "SPP", 1)
    images = small / "out" / "images"
    kept = {path: path.read_bytes() for path in images.iterdir()}
    assert main(_command(small, 1)) == 0
    assert "1 of 1 designs are done" in capsys.readouterr().err
    lost = next(path for path in kept if "x2" in path.name)
    lost.unlink()
    assert main(_command(small, 1)) == 0
    assert "0 of 1 designs are done" in capsys.readouterr().err
    assert lost.exists()
    assert not list(small.rglob("*.unfinished"))


def test_designs_come_from_all_seen_kinds_in_turn() -> None:
    first = plan.catalogue(plan.Split.TEST)[:80]
    counts = {kind: sum(d.kind == kind for d in first) for kind in words.SEEN_KINDS}
    assert set(counts.values()) == {5}
    paths = [row["path"] for design in first for row in domain_set.picture_rows(design)]
    assert len(set(paths)) == 640


def test_a_picture_is_painted_with_the_hand_of_its_design_domain_and_place() -> None:
    buffers = orthographic(chair_meshes(), size_px=96)
    picture: Render = shaded(buffers, [(0.7, 0.2, 0.1)] * 3)
    design, other = plan.catalogue(plan.Split.TEST)[:2]
    clay = painted(picture, "clay", design, 0)
    assert np.array_equal(clay, painted(picture, "clay", design, 0))
    assert (clay != painted(picture, "clay", design, 1)).any()
    assert (clay != painted(picture, "clay", other, 0)).any()


def test_a_set_needs_designs(tmp_path: Path, capsys) -> None:
    assert main(_command(tmp_path, 0)) == 2
    assert "`limit` must be at least 1, got 0." in capsys.readouterr().err
    assert main([*_command(tmp_path, 1), "--split", "unseen"]) == 2
    assert "`split` must be one of train, validation, test" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_split_has_other_designs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(domain_set, "SPP", 1)
    assert main([*_command(tmp_path, 1), "--split", "train"]) == 0
    (design,) = {row["design"] for row in _rows(tmp_path, "domains")}
    assert design == plan.catalogue(plan.Split.TRAIN)[0].id
