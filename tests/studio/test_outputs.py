"""What exists is never replaced unasked, and what was drawn is never lost."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from studio.cli import main
from studio.commands import generate as generate_module
from studio.commands.generate import output_rules
from studio.commands.outputs import picture_writer, plan_batch, plan_output, save_all
from studio.errors import UsageError
from tests.pictures import noise
from tests.studio.tiny_kit import write_kit

QUICK = ("--num-inference-steps", 1)
RULES = output_rules(overwrite=False)
REPLACING = output_rules(overwrite=True)


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    return write_kit(tmp_path_factory.mktemp("kit"))


def duet(kit: Path, *arguments: object) -> int:
    return main([*map(str, arguments), "--kit", str(kit)])


def test_a_free_path_is_taken_as_it_is(tmp_path):
    assert plan_output(tmp_path / "a.png", RULES) == tmp_path / "a.png"
    assert list(tmp_path.iterdir()) == []  # the check leaves nothing


def test_what_exists_keeps_its_name_and_the_result_gets_a_number(tmp_path, capsys):
    for name in ("a.png", "a-1.png"):
        (tmp_path / name).write_bytes(b"mine")
    assert plan_output(tmp_path / "a.png", RULES) == tmp_path / "a-2.png"
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert plan_output(tmp_path / "a.png", REPLACING) == tmp_path / "a.png"
    assert capsys.readouterr().err == ""


def test_a_batch_numbers_on(tmp_path):
    for number in (0, 3):
        (tmp_path / f"set-{number}.png").touch()
    planned = plan_batch(tmp_path / "set.png", 2, RULES)
    assert [path.name for path in planned] == ["set-1.png", "set-2.png"]
    planned = plan_batch(tmp_path / "set.png", 3, RULES)
    assert [path.name for path in planned] == ["set-4.png", "set-5.png", "set-6.png"]
    assert plan_batch(tmp_path / "set.png", 1, RULES) == (tmp_path / "set.png",)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_the_output_by_whatever_name(tmp_path, overwrite):
    photo, link = tmp_path / "photo.png", tmp_path / "link.png"
    photo.touch()
    link.symlink_to(photo)
    rules = output_rules(photo, None, overwrite=overwrite)
    for path in (photo, link, tmp_path / "." / "photo.png"):
        with pytest.raises(UsageError, match="must not be a file that is read"):
            plan_output(path, rules)


def test_links_and_protected_files_are_not_replaced(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    assert plan_output(tmp_path / "link.png", RULES).name == "link-1.png"
    with pytest.raises(UsageError, match="is a link"):
        plan_output(tmp_path / "link.png", REPLACING)
    (tmp_path / "kept.png").touch()
    (tmp_path / "kept.png").chmod(0o444)
    with pytest.raises(UsageError, match="cannot be written"):
        plan_output(tmp_path / "kept.png", REPLACING)


def test_what_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        plan_output(tmp_path / "folder.png", REPLACING)
    with pytest.raises(UsageError, match="cannot be written"):
        plan_output(tmp_path / f"{'x' * 300}.png", RULES)
    with pytest.raises(UsageError, match=r"must end in \.png"):
        plan_output(tmp_path / "a.jpg", RULES)
    with pytest.raises(UsageError, match="does not exist"):
        plan_output(tmp_path / "gone" / "a.png", RULES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused_at_once(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UsageError, match="cannot be written"):
        plan_output(tmp_path / "a.png", RULES)


def test_what_was_made_is_kept_elsewhere_if_its_place_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    full, fine = tmp_path / "full" / "a.png", tmp_path / "b.png"

    def write(path: Path) -> None:
        if path == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(b"picture")

    with pytest.raises(UsageError, match=r"the disk is full\. It is kept as (.*)a\.png\.") as told:
        save_all([full, fine], [write, write], overwrite=True)
    kept = Path(str(told.value).partition("kept as ")[2].removesuffix("."))
    assert kept.read_bytes() == fine.read_bytes() == b"picture"


def test_what_appears_while_a_command_works_keeps_its_name(tmp_path, capsys):
    path = plan_output(tmp_path / "a.png", RULES)
    path.write_bytes(b"of another command")
    (saved,) = save_all([path], [lambda file: file.write_bytes(b"ours")], overwrite=False)
    assert (saved.name, saved.read_bytes()) == ("a-1.png", b"ours")
    assert path.read_bytes() == b"of another command"
    assert "saved as" in capsys.readouterr().err
    assert save_all([path], [lambda file: file.write_bytes(b"ours")], overwrite=True) == (path,)
    assert path.read_bytes() == b"ours"


def test_a_sheet_that_cannot_be_written_whole_replaces_nothing(tmp_path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"mine")

    class Full(Image.Image):
        def save(self, fp, format=None, **params):
            fp.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        picture_writer(Full())(path)
    assert path.read_bytes() == b"mine"


def test_the_command_checks_before_it_works_and_replaces_only_if_told(
    kit, tmp_path, monkeypatch, capsys
):
    photo = tmp_path / "photo.png"
    noise((70, 70), 80).convert("RGB").save(photo)
    before = photo.read_bytes()
    transfer = ("transfer", photo, "--to", "watercolour", *QUICK)
    assert duet(kit, *transfer, "--output", photo, "--overwrite") == 2
    assert "must not be a file that is read" in capsys.readouterr().err
    assert photo.read_bytes() == before
    output = tmp_path / "out.png"
    output.write_bytes(b"mine")
    assert duet(kit, "generate", "--text", "red", "--output", output, *QUICK) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out-1.png")
    assert output.read_bytes() == b"mine"
    assert duet(kit, "generate", "--text", "red", "--output", output, *QUICK, "--overwrite") == 0
    assert output.read_bytes()[:4] == b"\x89PNG"

    def open_nothing(options: object) -> None:
        raise AssertionError(options)

    monkeypatch.setattr(generate_module, "open_engine", open_nothing)
    assert duet(kit, "generate", "--text", "red", "--output", tmp_path / f"{'x' * 300}.png") == 2


def test_a_search_saves_no_query_that_it_could_not_read_again(kit, tmp_path, capsys):
    saved = ("search", "--text", "red", "--save-query", tmp_path / "query.pt")
    assert duet(kit, *saved) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    assert duet(kit, "search", "--text", "red", "--sheet", tmp_path / "sheet.xyz") == 2
    assert "must end in .png" in capsys.readouterr().err


def test_rules_name_their_option():
    rules = replace(RULES, option="--sheet")
    with pytest.raises(UsageError, match="--sheet must end in"):
        plan_output(Path("a"), rules)
