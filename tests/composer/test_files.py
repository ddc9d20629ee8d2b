"""Atomic writes: what is left after success, an error, a kill."""

import errno
import os
import stat

import pytest

from composer.files import atomic_file, atomic_folder, recover_folder, sync, write_bytes, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupt(after):
    after()
    raise KeyboardInterrupt


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_file_is_replaced_as_a_whole(tmp_path, is_durable):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with atomic_file(path, is_durable=is_durable) as file:
        file.write(b"ne")
        assert path.read_bytes() == b"old"
        file.write(b"w")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        interrupt(lambda: file.write(b"half"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_flush_is_an_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("composer.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "a", b"data", is_durable=True)
    assert names(tmp_path) == []
    write_bytes(tmp_path / "a", b"data")  # without durability nothing is flushed
    assert names(tmp_path) == ["a"]


def test_a_durable_file_is_flushed_before_it_replaces_and_its_folder_after(tmp_path, monkeypatch):
    flushed = []

    def record(descriptor):
        mode = os.fstat(descriptor).st_mode
        flushed.append(("folder" if stat.S_ISDIR(mode) else "file", (tmp_path / "a").exists()))

    monkeypatch.setattr("composer.files.os.fsync", record)
    write_text(tmp_path / "a", "Käse", is_durable=True)
    assert flushed == [("file", False), ("folder", True)]
    assert (tmp_path / "a").read_bytes() == "Käse".encode()


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path):
    mask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_of_two_writers_the_last_to_finish_wins(tmp_path):
    path = tmp_path / "a"
    with atomic_file(path) as first:
        first.write(b"first")
        write_bytes(path, b"second")
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_names_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    write_bytes(tmp_path / ("a" * 255), b"data")
    assert names(tmp_path) == ["a" * 255]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with atomic_folder(path) as unfinished:
            (unfinished / content).touch()
    assert names(path) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_after_an_error_the_old_folder_stays(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(path) as unfinished:
        interrupt((unfinished / "half").touch)
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    (tmp_path / "folder.new").mkdir()
    (tmp_path / "folder.new" / "half").touch()
    with atomic_folder(tmp_path / "folder") as unfinished:
        (unfinished / "new").touch()
    assert names(tmp_path / "folder") == ["new"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    path, old = tmp_path / "folder", tmp_path / "folder.old"
    old.mkdir()
    (old / "kept").touch()
    recover_folder(path)
    assert names(path) == ["kept"]
    assert not old.exists()
    old.mkdir()
    recover_folder(path)  # the folder is there: what lies beside it is older
    assert names(path) == ["kept"]


def test_an_old_folder_is_not_lost_while_its_successor_is_written(tmp_path):
    path = tmp_path / "folder"
    (tmp_path / "folder.old").mkdir()
    (tmp_path / "folder.old" / "kept").touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(path):
        raise KeyboardInterrupt
    recover_folder(path)
    assert names(path) == ["kept"]


def test_flushing_what_has_been_deleted_is_no_error(tmp_path):
    sync(tmp_path / "gone")
