"""Names of files, captions and damaged pictures do not reach the terminal as they are."""

import errno
import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
from PIL import Image

from composer.images import open_image
from studio.cli import main
from studio.commands.shared import print_json, print_line, warn
from studio.errors import path_problem
from studio.sheet import Tile, contact_sheet
from tests.pictures import noise
from tests.studio.tiny import write_kit

NAMES = {
    "newline": "two\nlines",
    "colour": "\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "other controls": "\x9b31m\x08\x7f",
    "direction": "photo\u202egpj",
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return write_kit(tmp_path_factory.mktemp("kit") / "kit")


def index(kit, folder, *arguments):
    return main(["index", str(folder), *arguments, "--kit", str(kit)])


def search(kit, folder, *arguments):
    return main(["search", "--index", str(folder), "--kit", str(kit), "--text", "red", *arguments])


def is_clean(text):
    return all(character.isprintable() or character == "\n" for character in text)


def shades(folder, num):
    folder.mkdir(exist_ok=True)
    for number in range(num):
        noise((40, 30), 40, number).convert("RGB").save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_never_reaches_the_terminal_and_breaks_no_sheet(kit, tmp_path, capsys, name):
    folder = shades(tmp_path / "photos", 1)
    (folder / "0.png").rename(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text("a \x1b[2Jcaption")
    (folder / f"{name}-broken.png").write_bytes(b"broken")
    assert index(kit, folder) == 0
    assert search(kit, folder, "--sheet", str(tmp_path / "sheet.png")) == 0
    printed = capsys.readouterr()
    assert is_clean(printed.out + printed.err)
    assert len([line for line in printed.out.splitlines() if line.startswith("  1  ")]) == 1
    assert open_image(tmp_path / "sheet.png").width > 200
    assert search(kit, folder, "--json") == 0
    printed = capsys.readouterr().out
    assert is_clean(printed)
    assert json.loads(printed)["hits"][0]["path"] == f"{name}.png"


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_an_error_is_one_clean_line(kit, tmp_path, capsys, name):
    assert search(kit, tmp_path / name) == 2
    assert search(kit, tmp_path, "--image", str(tmp_path / name)) == 2
    printed = capsys.readouterr()
    assert is_clean(printed.err)
    assert len(printed.err.splitlines()) == 2


def test_what_is_printed_keeps_other_letters(capsys):
    text = "Grüße, 日本 🪑 و سلام\tx"
    print_line(text)
    warn(text)
    print_json({"text": text})
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == text
    assert printed.err == f"duet: {text}\n"
    assert json.loads(printed.out.split("\n", 1)[1]) == {"text": text}
    assert "日本 🪑" in printed.out.split("\n", 1)[1]


def test_a_sheet_is_drawn_whatever_its_texts_are():
    image = Image.new("RGB", (20, 20))
    for name in NAMES.values():
        sheet = contact_sheet([Tile(image=image, title=name, subtitle=name)])
        assert sheet.width > 200


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize("where", ["folder", "above", "index"])
def test_a_folder_whose_name_is_not_utf8_is_named(kit, tmp_path, capsys, where):
    strange = tmp_path / os.fsdecode(b"photos-\xe9")
    try:
        strange.mkdir()
    except OSError:
        pytest.skip("this file system has Unicode names only")
    folder = shades(strange if where == "folder" else strange / "inner", 1)
    if where == "index":
        folder = shades(tmp_path / "plain", 1)
        assert index(kit, folder, "--index", str(strange / "index")) == 2
    else:
        assert index(kit, folder) == 2
        assert search(kit, folder) == 2
    for line in capsys.readouterr().err.splitlines():
        assert "photos-\\xe9" in line
        assert "is not UTF-8; rename the folder." in line
    shutil.rmtree(os.fsencode(strange))


def test_an_empty_result_says_why(kit, tmp_path, capsys):
    folder = shades(tmp_path / "photos", 2)
    index(kit, folder)
    capsys.readouterr()
    assert search(kit, folder, "--filter", "folder = 'nowhere'") == 0
    assert capsys.readouterr().out == (
        "No picture of this gallery passes the filter, or is among the earlier hits.\n"
    )
    assert search(kit, folder, "--filter", "folder = 'nowhere'", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"hits": [], "confidence": None}


def test_folded_pictures_are_counted_and_can_be_listed(kit, tmp_path, capsys):
    folder = shades(tmp_path / "photos", 3)
    noise((40, 30), 40, 1).convert("RGB").save(folder / "again.webp", quality=95)
    noise((40, 30), 40, 2).convert("RGB").resize((80, 60)).save(folder / "large.png")
    index(kit, folder, "--near", "0.9")
    capsys.readouterr()
    search(kit, folder)
    *hits, last = capsys.readouterr().out.splitlines()
    assert len(hits) == 3
    assert last == "2 near-duplicates of these are left out; --all-copies lists them."
    search(kit, folder, "--all-copies")
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.filterwarnings("default")
def test_warnings_of_the_decoder_do_not_reach_the_user(kit, tmp_path, capsys):
    """A date that ends beyond the block: Pillow reads the picture and warns."""
    folder = shades(tmp_path / "photos", 1)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + b"\x0f\x01\x02\0\xff\0\0\0\xf0\xff\0\0" + bytes(4)
    Image.new("RGB", (40, 30), "red").save(folder / "warns.jpg", exif=exif)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        with Image.open(folder / "warns.jpg") as opened:
            opened.getexif()
        num_of_pillow = len(raised)
        assert index(kit, folder) == 0
        assert search(kit, folder, "--image", str(folder / "warns.jpg")) == 0
    assert num_of_pillow > 0
    assert [str(warning.message) for warning in raised[num_of_pillow:]] == []
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_one_sentence(kit, tmp_path, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert index(kit, closed) == 2
    assert capsys.readouterr().err.startswith("duet: ")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b cannot be used: Permiss"),
        (OSError(errno.ENOSPC, "No space left on device"), "A file cannot be used: No space"),
        (RuntimeError("Symlink loop from 'a'"), "Symlink loop from 'a'; name"),
    ],
)
def test_problems_of_paths_are_told(error, sentence):
    assert path_problem(error).startswith(sentence)


def test_other_errors_are_no_problems_of_paths():
    assert path_problem(RuntimeError("shape mismatch")) == ""
    assert path_problem(OSError(errno.EIO, "Input/output error")) == ""


@pytest.mark.parametrize("name", ["loop", "loop/inner", "x" * 300])
@pytest.mark.parametrize(
    "arguments",
    [
        ("index", "{}"),
        ("index", ".", "--index", "{}"),
        ("search", "--text", "red", "--index", "{}"),
        ("search", "--sketch", "{}"),
        ("transfer", ".", "--to", "red", "--seed", "0", "--output", "{}"),
    ],
)
def test_paths_that_no_file_can_have_are_one_sentence(
    kit, tmp_path, capsys, monkeypatch, name, arguments
):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    noise((8, 8), 60).save("a.png")
    assert main([*(part.format(name) for part in arguments), "--kit", str(kit)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("duet: ")
    assert said.count("\n") == 1
