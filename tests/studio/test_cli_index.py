"""`duet index` with all it can do, and `duet bench index`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from retrieval.benchmarks import indexing
from retrieval.engines.lance import LanceIndex
from retrieval.indexing.watch import _ChangeFilter, watch
from retrieval.store.table import Store
from studio.cli import EXIT_INTERRUPTED, main
from studio.commands.shared import ProgressLine
from tests.pictures import noise
from tests.studio.tiny import write_gallery, write_kit


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return write_kit(tmp_path_factory.mktemp("kit") / "kit")


def run(kit, *arguments):
    return main(["index", *map(str, arguments), "--kit", str(kit)])


def test_an_engine_is_built_where_it_pays_and_dropped_again(kit, tmp_path, capsys, monkeypatch):
    folder = write_gallery(tmp_path / "photos", num_images=6)
    assert run(kit, folder, "--engine", "lance") == 0
    assert "Fewer than 10,000 pictures: exact search" in capsys.readouterr().out
    monkeypatch.setattr("studio.commands.index.MIN_ROWS", 1)
    index = LanceIndex(Store.open(folder / ".duet"))
    assert not index.is_built
    assert run(kit, folder, "--engine", "lance", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_kept"] == 6
    assert index.is_built
    assert run(kit, folder, "--engine", "exact") == 0
    assert not index.is_built


def test_an_index_in_an_object_store_is_made_searched_and_reported(
    kit, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    folder = write_gallery(tmp_path / "photos", num_images=3)
    address = f"file-object-store://{tmp_path}/bucket"
    assert run(kit, folder, "--index", address) == 0
    assert run(kit, folder, "--index", address, "--rebuild") == 0
    said = capsys.readouterr().out
    assert said.count("3 added") == 2
    assert address in said
    run(kit, folder)
    capsys.readouterr()
    outputs = []
    for index in (address, str(folder / ".duet")):
        assert main(["search", "--text", "red", "--index", index, "--kit", str(kit)]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != ""
    assert main(["search", "--text", "red", "--index", "ftp://a", "--kit", str(kit)]) == 2
    assert "folder or in an object store (s3://, gs://, az://)" in capsys.readouterr().err


def test_without_ray_the_cluster_is_refused_in_a_sentence(kit, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "retrieval.indexing.cluster", None)
    folder = write_gallery(tmp_path / "photos", num_images=1)
    assert run(kit, folder, "--engine", "ray") == 2
    assert "pip install 'duet-studio[cluster]'" in capsys.readouterr().err


def test_idle_threads_leave_the_cores_to_those_that_decode(kit, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["search", "--text", "red", "--index", str(tmp_path), "--kit", str(kit)]) == 2
    assert "OMP_WAIT_POLICY" not in os.environ
    assert run(kit, write_gallery(tmp_path / "photos", num_images=1)) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert run(kit, tmp_path / "photos") == 0
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"  # whoever set it knows better


def test_two_folders_one_index_and_its_report(kit, tmp_path, capsys):
    first, second = write_gallery(tmp_path / "one", num_images=2), tmp_path / "two"
    second.mkdir()
    noise((40, 30), 50).save(second / "x.png")
    (second / "x.txt").write_bytes(b"\xff\xfe")
    assert run(kit, first, second) == 2
    assert (
        "Several folders share one index: choose its location with --index"
        in capsys.readouterr().err
    )
    assert run(kit, first, second, "--index", tmp_path / "index", "--near", "1", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["num_added"], said["num_moved"], said["num_near"]) == (3, 0, 0)
    assert [file["path"] for file in said["captions_left_out"]] == ["two/x.txt"]
    (first / "0.png").rename(second / "moved.png")
    assert run(kit, first, second, "--index", tmp_path / "index", "--near", "1") == 0
    said = capsys.readouterr().out
    assert "0 added, 2 unchanged, 0 removed, 0 skipped" in said
    assert "1 moved, 0 updated" in said
    assert "two/x.txt: The caption is not UTF-8" in said


def test_check_and_repair(kit, tmp_path, capsys):
    photos = write_gallery(tmp_path / "photos", num_images=3)
    run(kit, photos)
    capsys.readouterr()
    assert run(kit, photos, "--check") == 0
    assert "holds 3 pictures and is sound" in capsys.readouterr().out
    (photos / "1.png").unlink()
    assert run(kit, photos, "--check") == 1
    said = capsys.readouterr().out
    assert "1 pictures no longer exist." in said
    assert "--repair" in said
    assert run(kit, photos, "--repair", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sound"], said["num_items"]) == (True, 2)
    assert said["findings"][0]["examples"] == ["1.png"]
    assert run(kit, tmp_path / "none", "--check") == 2
    assert "holds no index" in capsys.readouterr().err


def test_export_and_import(kit, tmp_path, capsys):
    photos = write_gallery(tmp_path / "photos", num_images=3)
    run(kit, photos)
    assert run(kit, photos, "--export", tmp_path / "out") == 0
    assert np.load(tmp_path / "out/img_emb/img_emb_0.npy").shape[0] == 3
    capsys.readouterr()
    arguments = (photos, "--index", tmp_path / "index", "--import", tmp_path / "out")
    assert run(kit, *arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_added"] == 3
    assert run(kit, photos, "--import", tmp_path / "out") == 2
    assert "which imported vectors lack" in capsys.readouterr().err


def test_rebuild_spares_what_else_lies_in_the_index_folder(kit, tmp_path):
    photos = write_gallery(tmp_path / "photos", num_images=2)
    run(kit, photos)
    (photos / ".duet/notes.txt").write_text("mine")
    assert run(kit, photos, "--rebuild") == 0
    assert (photos / ".duet/notes.txt").read_text() == "mine"
    assert len(Store.open(photos / ".duet")) == 2


def test_watch_follows_changes_quietly_until_it_is_interrupted(kit, tmp_path):
    pytest.importorskip("watchfiles", reason="needs the extra `watch`")
    photos = write_gallery(tmp_path / "photos", num_images=2)
    command = [sys.executable, "-m", "studio", "index", str(photos), "--watch", "--kit", str(kit)]
    # Tests in the background of a shell ignore Ctrl-C, and so would every program they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert "2 added" in child.stdout.readline()
    deadline = time.monotonic() + 600
    number = 0
    while len(Store.open(photos / ".duet")) < 3 and time.monotonic() < deadline:
        # The watch may begin a moment after the first report: change something until it is seen.
        (photos / "0.png").touch()
        noise((40, 30), 50).save(tmp_path / "new.png")
        if not number:
            (tmp_path / "new.png").rename(photos / "new.png")
        number += 1
        time.sleep(0.5)
    last_resort = threading.Timer(600, child.kill)
    last_resort.start()
    while "1 added" not in (line := child.stdout.readline()):
        assert line, child.stderr.read()
    last_resort.cancel()
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=600)
    assert len(Store.open(photos / ".duet")) == 3
    assert "WARN" not in errors  # the store keeps its log to itself
    # Another status while it still reads the last touch.
    assert child.returncode in (0, EXIT_INTERRUPTED)


def test_what_the_walker_passes_over_wakes_no_watch(tmp_path):
    concerns = _ChangeFilter([tmp_path], tmp_path / "index")
    (tmp_path / "notes.md").touch()
    assert concerns(f"{tmp_path}/a.JPG")
    assert concerns(f"{tmp_path}/deep/a.txt")
    assert concerns(f"{tmp_path}/deep")
    assert not concerns(f"{tmp_path}/notes.md")
    assert not concerns(f"{tmp_path}/index/items.lance/data/a.png")
    assert not concerns(f"{tmp_path}/.duet/maintenance.lock")


@pytest.mark.parametrize("target", ["n" * 300, "x/" * 2000 + "a", "link", "nowhere/at/all"])
def test_a_link_that_cannot_be_followed_stops_no_watch(tmp_path, target):
    (tmp_path / "link").symlink_to(target)
    assert _ChangeFilter([tmp_path], None)(f"{tmp_path}/link")


def test_a_link_into_a_closed_folder_stops_no_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_file", closed)
    assert _ChangeFilter([tmp_path], None)(f"{tmp_path}/link")


def test_a_name_that_is_not_utf8_stops_no_watch(tmp_path):
    pytest.importorskip("watchfiles", reason="needs the extra `watch`")
    try:
        (tmp_path / os.fsdecode(b"\xff.probe")).touch()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    seen: list[set[str]] = []

    def update():
        seen.append({file.name for file in tmp_path.iterdir()})
        if "after.png" in seen[-1]:
            raise KeyboardInterrupt
        (tmp_path / "after.png").touch()

    # The watch may begin a moment later: change the file until it is seen.
    timers = [
        threading.Timer(second, (tmp_path / os.fsdecode(b"\xff.png")).touch) for second in range(9)
    ]
    last_resort = threading.Timer(60, (tmp_path / "late.png").touch)
    for timer in (*timers, last_resort):
        timer.start()
    try:
        watch([tmp_path], None, update)
    finally:
        for timer in (*timers, last_resort):
            timer.cancel()
    assert len(seen) > 1
    assert all("late.png" not in names for names in seen)


def closed(_path):
    raise PermissionError


def test_progress_tells_rate_and_time_left(monkeypatch, capsys):
    moment = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: moment[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = ProgressLine("indexed", unit="images")
    line(1000, 4000)  # most of them unchanged
    moment[0] += 10
    line(1200, 4000)
    moment[0] += 140
    line(4000, 4000)
    first, second, third = capsys.readouterr().err.strip("\r\n").split("\r")
    assert first == "indexed 1000/4000"
    assert second.strip() == "indexed 1200/4000, 20 images/s, 2:20 left"
    assert third.strip() == "indexed 4000/4000, 20 images/s"


@pytest.mark.slow
def test_bench_index_compares_three_ways(kit, monkeypatch, capsys):
    monkeypatch.setattr(indexing, "SIZES", (((64, 48), 60), ((96, 80), 40)))
    arguments = ["bench", "index", "--count", "40", "--json", "--kit", str(kit)]
    assert main(arguments) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["what"] for row in rows] == [
        "duet index",
        "bare encoder",
        "open_clip and a DataLoader",
    ]
    ours, bare, plain = rows
    assert (ours["num_images"], plain["num_images"], bare["over_bare"]) == (40, 40, 1)
    assert ours["over_bare"] == pytest.approx(ours["images_per_s"] / bare["images_per_s"], abs=0.01)
    assert all(row["peak_rss_mib"] > 50 for row in rows)
