"""One table of all composers, on a small kit and a small gallery."""

import json
import re

import pytest
from PIL import Image

from composer.backbone import Backbone
from composer.training import ablations
from retrieval.benchmarks.drawing_kinds import KINDS
from studio import galleries
from studio.cli import main
from studio.commands import bench, bench_ablations, bench_composers, bench_drawings, bench_gallery
from studio.report import ReportQuery, write_report
from tests.composer.data.fake_pack import write_pack
from tests.composer.data.test_imagenet_r import write_real, write_renditions
from tests.composer.tiny import write_clip
from tests.pictures import noise
from tests.retrieval.tiny_world import write_world
from tests.studio.tiny import write_kit


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    kit = write_kit(root / "kit")
    write_world(root / "assets" / "gallery", Backbone.load(kit / "clip"))
    return root / "assets", kit


@pytest.fixture
def ask(folders, monkeypatch, capsys):
    assets, kit = folders
    for module in (
        *(galleries, bench, bench_ablations, bench_composers, bench_drawings),
        bench_gallery,
    ):
        monkeypatch.setattr(module, "assets_folder", lambda: assets)

    def run(*more, what="composers"):
        code = main(["bench", what, "--kit", str(kit), "--json", *map(str, more)])
        return code, capsys.readouterr()

    return run


def test_every_composer_and_the_bare_backbone_answer_the_same_queries(ask, tmp_path):
    code, said = ask("--sheet", tmp_path / "sheet.png", "--page", tmp_path / "page")
    assert code == 0
    report = json.loads(said.out)
    assert report["bench"] == "composers"
    ranked = [row for row in report["rows"] if "acc@10" in row]
    asked = {(r["query"], r["split"], r["num_queries"]) for r in ranked if r["composer"] == "duet"}
    assert {(q, s) for q, s, _ in asked} == {
        (q, s)
        for q in ("sketch", "text", "sketch+text", "sketch+text, reworded")
        for s in ("seen", "unseen")
    }
    for name in ("slerp", "backbone"):
        queries = {
            (r["query"], r["split"], r["num_queries"]) for r in ranked if r["composer"] == name
        }
        assert queries == asked
    behaviour = {r["composer"]: r for r in report["rows"] if "moved_by_neutral" in r}
    assert set(behaviour) == {"duet", "slerp", "backbone"}
    assert -1 <= behaviour["duet"]["token_cosine"] <= 1
    assert behaviour["backbone"]["token_cosine"] is None
    costs = {r["composer"]: r for r in report["rows"] if "encode_ms" in r}
    for row in costs.values():
        assert row["ratio"] == pytest.approx(row["encode_ms"] / row["tower_ms"])
    assert set(costs) == set(behaviour)
    # The drawing, then all four pictures of the gallery, for each composer.
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 5 * 110
    kept = json.loads((tmp_path / "page" / "composers.json").read_text())
    assert kept["rows"] == report["rows"]
    assert len(kept["weights"]) == 12
    page = (tmp_path / "page" / "index.html").read_text()
    images = set(re.findall('src="([^"]+)"', page))
    assert images
    assert all((tmp_path / "page" / name).is_file() for name in images)
    assert {f"{row['acc@10']:.3f}" for row in ranked} <= set(re.findall(r"<td>([^<]+)</td>", page))


def test_some_composers_may_be_measured_alone(ask):
    code, said = ask("--composers", "backbone", "slerp")
    assert code == 0
    assert {row["composer"] for row in json.loads(said.out)["rows"]} == {"slerp", "backbone"}
    code, said = ask("--composers", "duet", "nobody")
    assert (code, said.out) == (2, "")
    assert "no composer 'nobody'; it has duet, slerp, backbone" in said.err


def test_words_cannot_break_the_page(tmp_path):
    picture = noise((40, 40), 80).convert("RGB")
    picture.save(tmp_path / "a.png")
    query = ReportQuery(
        sketch=picture,
        words="<script>alert(1)</script>",
        split="seen kind",
        target=tmp_path / "a.png",
        answers={"duet": (1, [tmp_path / "a.png"])},
    )
    heading = {"kit": "k", "date": "d", "seed": 0, "weights": "w", "composer": "duet"}
    write_report(tmp_path / "page", heading, [{"composer": "duet", "acc@1": 0.5}], [query])
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count('class="right"') == 1


def test_a_folder_without_the_archives_is_refused(ask, tmp_path):
    code, said = ask("--natural", tmp_path)
    assert code == 2
    assert "sketchy_subset.tar" in said.err


def test_imagenet_r_is_measured_instead_of_the_catalogue(ask, tmp_path):
    folders = write_renditions(tmp_path / "r"), write_real(tmp_path / "real")
    code, said = ask("--imagenet-r", *folders, "--composers", "duet", "slerp", "--count", 1)
    assert code == 0
    rows = json.loads(said.out)["rows"]
    assert [(row["composer"], row["query"]) for row in rows] == [
        (name, mode) for name in ("duet", "slerp") for mode in ("image", "text", "image+text")
    ]
    assert {row["num_gallery"] for row in rows} == {7}
    code, said = ask("--imagenet-r", *folders, "--count", 0)
    assert (code, said.out) == (2, "")
    assert "--count must be at least 1" in said.err
    code, said = ask("--imagenet-r", tmp_path / "none", folders[1])
    assert (code, said.out) == (2, "")
    assert "none must be the folder or archive of a data set; it does not exist." in said.err


def test_all_strokes_give_what_the_whole_sketch_gives(ask):
    code, said = ask(what="partial")
    assert code == 0
    rows = json.loads(said.out)["rows"]
    assert sorted({row["strokes"] for row in rows}) == [0.1, 0.25, 0.5, 0.75, 1.0]
    whole = [row for row in json.loads(ask()[1].out)["rows"] if row["composer"] == "duet"]
    for row in rows:
        if row.pop("strokes") == 1.0:
            assert row in whole


def test_drawings_of_each_kind_are_compared_with_the_clean_ones(ask, monkeypatch):
    monkeypatch.setattr(bench_drawings, "NUM_DRAWINGS", 1)
    code, said = ask(what="drawings")
    assert code == 0
    rows = {row["kind"]: row for row in json.loads(said.out)["rows"]}
    assert set(rows) == set(KINDS)
    # The gallery has four pictures, all of which are hits of every drawing that is read.
    assert {row["read"] for row in rows.values()} == {1.0}
    assert {row["overlap"] for row in rows.values()} == {0.4}


def test_ablations_are_measured_and_trained_by_one_command(ask, tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "TOKENS", (2, 4))  # more do not fit the small text tower
    code, said = ask(what="ablations")
    assert code == 0
    measured = json.loads(said.out)["rows"]
    assert {row["ablation"] for row in measured} == {
        "balance", "skill", "gallery tower", "photo-side shift",
    }  # fmt: skip
    code, said = ask("--pack", tmp_path / "nothing", what="ablations")
    assert code == 2
    write_pack(tmp_path / "pack")
    code, said = ask("--pack", tmp_path / "pack", "--steps", 1, what="ablations")
    assert code == 0
    rows = json.loads(said.out)["rows"]
    assert rows[: len(measured)] == measured
    trained = rows[len(measured) :]
    assert {row["ablation"] for row in trained} == {"loss", "prompt length", "tokens"}
    assert all(row["num_steps"] == 1 for row in trained)


def test_a_kit_of_another_encoder_indexes_the_gallery_for_the_time(ask, folders, tmp_path, capsys):
    assets, _ = folders
    other = tmp_path / "other"
    write_clip(other / "clip", seed=5)
    (other / "kit.toml").write_text(
        'name = "other"\n[backbone]\npath = "clip"\n[composers.slerp]\nalpha = 0.5\n'
    )
    before = {p: p.stat().st_mtime_ns for p in assets.rglob("*")}
    asked = ["bench", "composers", "--composers", "slerp", "--json", "--kit", str(other)]
    assert main(asked) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {r["num_queries"] for r in rows if r.get("query") == "text"} == {1, 3}
    assert {p: p.stat().st_mtime_ns for p in assets.rglob("*")} == before
