"""`duet transfer` of a folder, interrupted and continued, and of one picture in every domain."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from composer.images import open_image
from generation.provenance import read_png
from studio.commands import transfer_folder
from studio.commands.transfer_folder import STATE, UNFINISHED
from tests.pictures import noise
from tests.studio.kit_world import duet
from tests.studio.tiny_kit import write_kit

NAMES = ("a.png", "b.jpg", "b.png", "sub/c.webp", "sub/d.png")
RESULTS = {"a.png", "b.png", "b.png.png", "sub/c.png", "sub/d.png"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    (kit / "kit.toml").write_text('domains = ["oak", "red"]\n' + (kit / "kit.toml").read_text())
    return folder


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        noise((60 + number, 50), 60).convert("RGB").save(folder / name)
    return folder


def arguments(world, source, output, *options):
    drawn = ("--to", "oak", "--num-inference-steps", 2, "--kit", world / "kit")
    return ("transfer", source, *drawn, "--output", output, *options)


def transfer(world, source, output, *options, seed=("--seed", 5)):
    return duet(*arguments(world, source, output, *seed, *options))


def counts(capsys):
    report = json.loads(capsys.readouterr().out)
    return report["num_drawn"], report["num_kept"], [one["path"] for one in report["skipped"]]


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != STATE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def said(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("duet: ")


def test_every_picture_is_drawn_once_as_it_would_be_alone(world, source, tmp_path, capsys):
    assert transfer(world, source, tmp_path / "out", "--json") == 0
    assert counts(capsys) == (5, 0, [])
    first = files(tmp_path / "out")
    assert first.keys() == RESULTS
    assert transfer(world, source / "b.jpg", tmp_path / "alone.png") == 0
    assert (tmp_path / "alone.png").read_bytes() == first["b.png"]
    capsys.readouterr()
    assert transfer(world, source, tmp_path / "out", "--json") == 0
    assert counts(capsys) == (0, 5, [])
    assert files(tmp_path / "out") == first
    shutil.copy(source / "a.png", source / "sub" / "d.png")
    (tmp_path / "out" / "a.png").unlink()
    assert transfer(world, source, tmp_path / "out", "--json") == 0
    assert counts(capsys) == (2, 3, [])
    second = files(tmp_path / "out")
    changed = {name for name in RESULTS if first[name] != second[name]}
    assert changed == {"sub/d.png"}


class Killed(BaseException):
    """Stands for the end of the process."""


def test_an_interruption_at_any_point_is_made_good(world, source, tmp_path, capsys, monkeypatch):
    assert transfer(world, source, tmp_path / "whole") == 0
    output = tmp_path / "out"

    def kill_at(target, name, number):
        calls, original = iter(range(100)), getattr(target, name)

        def call(*values, **named):
            if next(calls) == number:
                raise Killed
            return original(*values, **named)

        monkeypatch.setattr(target, name, call)

    kill_at(transfer_folder, "write_png", 1)  # before a picture is written
    with pytest.raises(Killed):
        transfer(world, source, output)
    monkeypatch.undo()
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))
    assert len(files(output)) == 1
    # The first two write the picture; then it is recorded, and has no name yet.
    kill_at(transfer_folder.os, "fsync", 2)
    with pytest.raises(Killed):
        transfer(world, source, output)
    monkeypatch.undo()
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))
    assert f"{UNFINISHED}/picture.png" in files(output)
    state = (output / STATE).read_text()
    (output / STATE).write_text(state[:-20])  # the last line was cut off
    capsys.readouterr()
    assert transfer(world, source, output, "--json") == 0
    assert counts(capsys) == (4, 1, [])
    assert files(output) == files(tmp_path / "whole")


@pytest.mark.slow
def test_killed_twice_and_continued_it_gives_the_same_files(world, source, tmp_path):
    for number in range(8):
        noise((70 + number, 40), 60).convert("RGB").save(source / f"more-{number}.png")
    assert transfer(world, source, tmp_path / "whole") == 0
    output = tmp_path / "out"
    command = [sys.executable, "-m", "studio", *arguments(world, source, output, "--seed", "5")]
    for wanted in (2, 6):
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        while len(files(output)) < wanted and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len(files(output)) < len(files(tmp_path / "whole"))
    assert transfer(world, source, output) == 0
    assert files(output) == files(tmp_path / "whole")


def test_what_cannot_be_read_is_reported_and_the_rest_is_drawn(world, source, tmp_path, capsys):
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    (source / "empty.jpg").write_bytes(b"")
    (source / "notes.txt").write_text("no picture")
    (source / "away.png").symlink_to(tmp_path / "none.png")
    assert transfer(world, source, tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"5 drawn, 0 unchanged, 3 skipped. The folder is {tmp_path / 'out'}."
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  skipped away.png", "  skipped broken.png", "  skipped empty.jpg",
    ]  # fmt: skip
    assert files(tmp_path / "out").keys() == RESULTS


def test_files_of_others_and_of_other_settings_stay(world, source, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "a.png").write_text("mine")
    assert transfer(world, source, output, "--json") == 0
    assert counts(capsys) == (4, 0, ["a.png"])
    before = files(output)
    assert transfer(world, source, output, "--strength", 0.9, "--json") == 2
    assert "None of the 5 pictures can be used" in said(capsys)
    assert files(output) == before
    assert transfer(world, source, output, "--strength", 0.9, "--overwrite", "--json") == 0
    assert counts(capsys) == (5, 0, [])
    assert read_png(output / "a.png").fields["strength"] == 0.9
    again = ("--strength", 0.9, "--keep-colours", "--overwrite", "--json")
    assert transfer(world, source, output, *again) == 0
    assert counts(capsys) == (5, 0, [])
    assert read_png(output / "a.png").fields["keeps_colours"] is True
    assert transfer(world, source, output, *again, "--original-size") == 0
    assert open_image(output / "a.png").size == (60, 47)  # of 60 x 50, as drawn in 72 x 56


def test_a_box_that_one_picture_has_no_room_for_is_reported(world, source, tmp_path, capsys):
    options = ("--box", 20, 10, 41, 30, "--json")
    assert transfer(world, source, tmp_path / "out", *options) == 0
    assert counts(capsys) == (4, 0, ["a.png"])
    made = np.asarray(Image.open(tmp_path / "out" / "b.png.png"))
    assert made.shape == (50, 62, 3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--num-images", 2), "A folder takes one image of each picture"),
        (("--control-image", "a.png"), "A control image is for one picture"),
        (("--output", "source/out"), "must lie outside the folder of the pictures"),
        (("--output", "file.txt"), "must be a folder for a folder"),
        (("--sweep",), "leave out --to and --like"),
    ],
)
def test_options_that_do_not_fit_a_folder_are_one_sentence(
    world, source, tmp_path, capsys, options, sentence
):
    (tmp_path / "file.txt").write_text("text")
    given = [tmp_path / part if "/" in str(part) or "." in str(part) else part for part in options]
    assert transfer(world, source, tmp_path / "out", *given) == 2
    assert sentence in said(capsys)
    assert not (tmp_path / "out").exists()


def test_a_folder_needs_a_seed_and_a_picture(world, source, tmp_path, capsys):
    assert transfer(world, source, tmp_path / "out", seed=()) == 2
    assert "A folder needs a seed" in said(capsys)
    (tmp_path / "none").mkdir()
    assert transfer(world, tmp_path / "none", tmp_path / "out") == 2
    assert "There is no picture in" in said(capsys)
    assert not (tmp_path / "out").exists()


def test_a_sweep_draws_every_domain_and_a_sheet(world, source, tmp_path, capsys):
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--kit", world / "kit")
    sheet = tmp_path / "sheet.png"
    assert duet("transfer", source / "a.png", "--sweep", *drawn, "--output", sheet) == 0
    paths = capsys.readouterr().out.splitlines()
    assert paths == [str(sheet), *(str(tmp_path / f"sheet-{name}.png") for name in ("oak", "red"))]
    assert open_image(sheet).width > 3 * 200
    assert transfer(world, source / "a.png", tmp_path / "oak.png") == 0
    assert (tmp_path / "oak.png").read_bytes() == (tmp_path / "sheet-oak.png").read_bytes()
    assert (tmp_path / "sheet-red.png").read_bytes() != (tmp_path / "oak.png").read_bytes()
