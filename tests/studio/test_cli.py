"""The command line: what it prints, and how it says what the user can mend."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from composer.composed import ComposedQuery
from retrieval.confidence import Calibration, QueryMode, save_calibrations
from studio.cli import main, parser
from tests.composer.tiny import tiny_backbone, write_clip
from tests.studio.tiny import index_gallery, write_gallery, write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_kit(folder / "kit")
    index_gallery(write_gallery(folder / "photos"), tiny_backbone())
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(folder / "sketch.png")
    (folder / "strokes.json").write_text("[[[0.1, 0.1], [0.9, 0.2]], [[0.5, 0.5], [0.5, 0.9]]]")
    return folder


def run(world, *arguments):
    return main([*map(str, arguments), "--kit", str(world / "kit")])


def search(world, *arguments):
    return run(world, "search", "--index", world / "photos", *arguments)


def test_search_prints_ranked_hits_as_json(world, capsys):
    assert search(world, "--sketch", world / "sketch.png", "--text", "red", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"hits", "confidence"}
    assert [hit["rank"] for hit in report["hits"]] == [1, 2, 3, 4, 5, 6]
    scores = [hit["score"] for hit in report["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert {"id", "path", "score", "rank"} <= set(report["hits"][0])


@pytest.mark.parametrize(("bias", "says"), [(-50.0, True), (50.0, False)])
def test_nothing_matches_is_an_answer(world, tmp_path, capsys, bias, says):
    """A kit whose calibration finds every ranking hopeless, or every one fine."""
    kit = tmp_path / "kit"
    shutil.copytree(world / "kit", kit)
    calibration = Calibration(weights=(1.0, 0.0, 0.0, 0.0), bias=bias, threshold=0.5)
    save_calibrations(kit / "duet.json", dict.fromkeys(QueryMode, calibration))
    text = (kit / "kit.toml").read_text()
    weights = 'weights = "composers/duet.safetensors"'
    (kit / "kit.toml").write_text(text.replace(weights, f'{weights}\nconfidence = "duet.json"', 1))
    asked = ["search", "--index", str(world / "photos"), "--text", "red", "--kit", str(kit)]
    assert main(asked) == 0
    assert ("Nothing in this gallery matches well" in capsys.readouterr().out) is says
    assert main([*asked, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["confidence"] == pytest.approx(0.0 if says else 1.0, abs=1e-3)
    assert main([*asked, "--composer", "slerp", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confidence"] is None
    (kit / "duet.json").unlink()
    assert main(asked) == 2
    assert "lacks" in capsys.readouterr().err


def test_a_search_is_refined_by_its_hits(world, tmp_path, capsys):
    def hits_of(*arguments):
        assert search(world, "--text", "red", "--all-copies", "--json", *arguments) == 0
        return json.loads(capsys.readouterr().out)["hits"]

    hits = hits_of()
    ids = [hit["id"] for hit in hits]
    assert len(ids) == 6
    last = hits_of("--like", ids[-1], "--unlike", ids[0])
    assert [hit["id"] for hit in last] != ids
    before = tmp_path / "before.json"
    before.write_text(json.dumps({"hits": hits[2:4]}))
    assert [hit["id"] for hit in hits_of("--within", before)] == ids[2:4]
    assert {hit["id"] for hit in hits_of("--diversity", 1)} == set(ids)
    assert search(world, "--text", "red", "--json") == 0
    folded = json.loads(capsys.readouterr().out)["hits"]
    copies = [item for hit in folded for item in (hit["id"], *hit["near_duplicates"])]
    assert sorted(copies) == sorted(ids)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--like", "f" * 32], "There is no picture ffff"),
        (["--unlike", "x"], "An item's id must be 32 hex digits, got 'x'"),
        (["--within", "none.json"], "must be the output of duet search --json"),
        (["--diversity", 3], "must be between 0 and 1, got 3"),
    ],
)
def test_a_malformed_refinement_is_refused(world, capsys, arguments, said):
    assert search(world, "--text", "red", *arguments) == 2
    assert said in capsys.readouterr().err


def test_strokes_words_alone_and_top_k(world, capsys):
    assert search(world, "--sketch", world / "strokes.json", "--top-k", 2) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert search(world, "--text", "oak chair", "--composer", "slerp") == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize("name", ["basic", "freedom", "product"])
def test_composers_without_training_search_refine_and_explain(world, capsys, name):
    def hits_of(*arguments):
        asked = ["--sketch", world / "strokes.json", "--text", "red", "--composer", name]
        assert search(world, *asked, *arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)["hits"]

    hits = hits_of()
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert sorted((hit["score"] for hit in hits), reverse=True) == [hit["score"] for hit in hits]
    first, last = hits[0]["id"], hits[-1]["id"]
    assert [hit["id"] for hit in hits_of("--like", last)] != [hit["id"] for hit in hits]
    narrowed = hits_of("--filter", "width >= 1", "--top-k", 1, "--evidence")
    assert [hit["id"] for hit in narrowed] == [first]
    assert narrowed[0]["evidence"]
    by_balance = [[hit["id"] for hit in hits_of("--balance", share)] for share in (0, 1)]
    assert by_balance[0] != by_balance[1]


@pytest.mark.parametrize("prefix", ["photos/", ""], ids=["from the table", "from the folder"])
def test_a_table_of_items_tells_what_pictures_are(world, tmp_path, capsys, prefix):
    name = next(file.name for file in sorted((world / "photos").glob("*.png")))
    row = {"path": prefix + name, "kind": "blob", "domain": "photo", "caption": "a blue blob"}
    pq.write_table(pa.Table.from_pylist([row]), world / "items.parquet")
    items = ("--index", tmp_path / "index", "--items", world / "items.parquet")
    assert run(world, "index", world / "photos", *items) == 0
    capsys.readouterr()
    assert run(world, "search", "--index", tmp_path / "index", "--text", "red", "--json") == 0
    hits = {hit["path"]: hit for hit in json.loads(capsys.readouterr().out)["hits"]}
    assert hits[name]["caption"] == "a blue blob"
    assert sum("caption" in hit for hit in hits.values()) == 1
    pq.write_table(pa.Table.from_pylist([row | {"path": "none.png"}]), world / "items.parquet")
    assert run(world, "index", world / "photos", *items, "--rebuild") == 2
    assert "names no picture of" in capsys.readouterr().err
    assert run(world, "search", "--index", tmp_path / "index", "--text", "red") == 0  # kept


def test_the_sheet_and_the_saved_query_can_be_used_again(world, tmp_path, capsys):
    sheet, query = tmp_path / "sheet.png", tmp_path / "query.safetensors"
    arguments = ("--sketch", world / "sketch.png", "--text", "red", "--json")
    assert search(world, *arguments, "--sheet", sheet, "--save-query", query) == 0
    first = capsys.readouterr().out
    with Image.open(sheet) as drawn:
        assert drawn.size[0] > 1000
    assert ComposedQuery.load(query).text == "red"
    assert search(world, "--query", query, "--json") == 0
    assert capsys.readouterr().out == first
    assert search(world, *arguments, "--balance", 0.2) == 0
    moved = capsys.readouterr().out
    assert moved != first
    assert search(world, "--query", query, "--json", "--balance", 0.2) == 0
    assert json.loads(capsys.readouterr().out)["hits"] == json.loads(moved)["hits"]


def test_index_tells_what_became_of_every_file(world, tmp_path, capsys):
    folder = write_gallery(tmp_path / "mixed", num_images=2)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    assert run(world, "index", folder, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_added"], report["skipped"][0]["path"]) == (2, "broken.jpg")
    assert run(world, "index", folder) == 0
    said = capsys.readouterr().out
    assert "0 added, 2 unchanged, 0 removed, 1 skipped" in said
    assert "It knows nothing." in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--sketch", "nowhere.png"), "nowhere.png cannot be read; check the path"),
        (("--sketch", "notes.txt"), "notes.txt is not a PNG, JPEG, WebP, AVIF or HEIC image"),
        (("--sketch", "blank.png"), "holds no drawing"),
        (("--sketch", "notes.json"), "not valid JSON"),
        ((), "The query is empty"),
        (("--text", "   "), "The query is empty"),
        (("--text", "x" * 1001), "at most 1000 characters"),
        (("--text", "red", "--composer", "dutt"), "no composer 'dutt'; choose one of: duet"),
        (("--text", "red", "--top-k", "0"), "`top_k` must be between 1 and 1000, got 0"),
        (("--sketch", "dot.json", "--text", "red", "--balance", "2"), "between 0 and 1, got 2"),
        (("--text", "red", "--query", "q.safetensors"), "Give --query alone"),
        (("--query", "notes.txt"), "notes.txt"),
        (("--text", "red", "--device", "cuda:77"), "no device 'cuda:77'"),
        (("--text", "red", "--sheet", "missing/sheet.png"), "The folder of --sheet does not exist"),
    ],
)
def test_user_errors_print_a_sentence_and_exit_with_code_2(
    world, tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "notes.json").write_text("no strokes")
    (tmp_path / "dot.json").write_text("[[[0.1, 0.1], [0.9, 0.2]]]")
    Image.new("L", (40, 40), 255).save(tmp_path / "blank.png")
    assert search(world, *arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.startswith("duet: ")
    assert said.err.count("\n") == 1
    assert not said.out


def test_a_sketch_above_the_pixel_cap_is_refused(world, tmp_path, capsys):
    path = tmp_path / "bomb.png"
    Image.fromarray(np.zeros((9000, 9000), dtype=bool)).save(path)
    assert search(world, "--sketch", path) == 2
    assert "more than 64 million pixels" in capsys.readouterr().err


def test_unknown_kits_and_indexes_of_other_encoders_are_refused(world, tmp_path, capsys):
    assert main(["search", "--text", "red", "--kit", "maxi"]) == 2
    assert "There is no kit 'maxi'" in capsys.readouterr().err
    other = tmp_path / "other"
    write_clip(other / "clip", seed=5)
    (other / "kit.toml").write_text('name = "other"\n[backbone]\npath = "clip"\n')
    arguments = ["--text", "red", "--composer", "slerp", "--index", str(world / "photos")]
    assert main(["search", *arguments, "--kit", str(other)]) == 2
    assert "--rebuild" in capsys.readouterr().err
    assert search(world, "--text", "red") == 0


def test_a_kit_without_a_pipeline_says_that_it_does_not_draw(world, tmp_path, capsys):
    output = tmp_path / "out.png"
    assert run(world, "generate", "--text", "red", "--output", output) == 2
    assert "searches but does not draw" in capsys.readouterr().err
    assert run(world, "generate", "--text", "red", "--output", tmp_path / "out.jpg") == 2
    assert "must end in .png" in capsys.readouterr().err
    assert not output.exists()


def test_doctor_names_the_licence_of_the_weights(world, capsys):
    assert run(world, "doctor", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["weights licence"] == "none"
    assert report["gallery_hash"] == tiny_backbone().gallery_hash


def test_doctor_reports_device_precision_and_memory(world, capsys):
    hardware = ("--device", "cpu", "--dtype", "bf16")
    assert run(world, "doctor", *hardware, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["device"], report["precision"]) == ("cpu", "bfloat16")
    assert report["memory"]


def test_a_search_runs_in_half_precision(world, capsys):
    scores: dict[str, dict[str, float]] = {}
    for dtype in ("fp32", "bf16"):
        hardware = ("--device", "cpu", "--dtype", dtype)
        assert (
            search(world, "--sketch", world / "sketch.png", "--text", "red", *hardware, "--json")
            == 0
        )
        hits = json.loads(capsys.readouterr().out)["hits"]
        scores[dtype] = {hit["id"]: hit["similarity"] for hit in hits}
    assert scores["fp32"] != scores["bf16"]
    assert scores["fp32"] == pytest.approx(scores["bf16"], abs=0.05)


def test_every_command_has_help():
    for name in (
        "demo",
        "index",
        "search",
        "generate",
        "transfer",
        "rerun",
        "kits",
        "train",
        "bench",
    ):
        with pytest.raises(SystemExit) as stopped:
            parser().parse_args([name, "--help"])
        assert stopped.value.code == 0


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from studio.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'gradio', 'numpy', 'PIL'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_evidence_says_where_and_marks_the_sheet(world, tmp_path, capsys):
    asked = ("--sketch", world / "strokes.json", "--text", "red seat, oak legs", "--top-k", 2)
    plain, sheet = tmp_path / "plain.png", tmp_path / "marked.png"
    assert search(world, *asked, "--sheet", plain, "--json") == 0
    assert "evidence" not in json.loads(capsys.readouterr().out)["hits"][0]
    assert search(world, *asked, "--sheet", sheet, "--json", "--evidence") == 0
    for hit in json.loads(capsys.readouterr().out)["hits"]:
        evidence = hit["evidence"]
        assert [word["word"] for word in evidence["words"]] == ["red", "seat", "oak", "legs"]
        assert [stroke["stroke"] for stroke in evidence["strokes"]] == [0, 1]
        for mark in (*evidence["words"], *evidence["strokes"]):
            left, top, right, bottom = mark["box"]
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1
    with Image.open(plain) as before, Image.open(sheet) as after:
        assert before.size == after.size
        assert before.tobytes() != after.tobytes()


def test_a_filter_chooses_among_the_pictures(world, capsys):
    def paths(condition):
        assert search(world, "--text", "red", "--filter", condition, "--json") == 0
        return {hit["path"] for hit in json.loads(capsys.readouterr().out)["hits"]}

    everything = paths("width = 64")
    assert len(everything) == 6
    sizes = {path: (world / "photos" / path).stat().st_size for path in everything}
    middle = sorted(sizes.values())[3]
    assert paths(f"size >= {middle}") == {path for path, size in sizes.items() if size >= middle}
    assert paths("folder = 'nowhere' or not height = 48") == set()
    assert search(world, "--text", "red", "--filter", "colour = 'red'") == 2
    said = capsys.readouterr().err
    assert said.startswith("duet: Filter, character 1: there is no field 'colour'; the fields are")
    assert search(world, "--text", "red", "--filter", " ") == 2
    assert "The filter is empty" in capsys.readouterr().err


def test_a_gallery_is_published_to_milvus_and_searched_there(world, tmp_path, capsys):
    manager = pytest.importorskip("milvus_lite.server_manager", reason="milvus-lite is missing")
    address = str(tmp_path / "milvus.db")
    folder = ("index", world / "photos", "--index", tmp_path / "index", "--publish", address)
    try:
        assert run(world, *folder, "--json") == 0
        assert json.loads(capsys.readouterr().out)["num_sent"] == 6
        assert run(world, *folder) == 0
        assert f"Published to {address}: 0 sent" in capsys.readouterr().out
        asked = ("--text", "red", "--filter", "width = 64", "--json")
        assert run(world, "search", "--index", address, *asked) == 0
        hits = json.loads(capsys.readouterr().out)["hits"]
        assert search(world, *asked) == 0
        expected = json.loads(capsys.readouterr().out)["hits"]
        assert [hit["file"] for hit in hits] == [hit["file"] for hit in expected]
        assert run(world, "search", "--index", f"{address}#none", "--text", "red") == 2
        assert f"Publish a gallery with: duet index FOLDER --publish {address}#none" in (
            capsys.readouterr().err
        )
    finally:
        manager.server_manager_instance.release_server(address)
