"""Results wait for a page that loads again, within limits of time and number."""

import time

import pytest

from studio.ui.sessions import MAX_HELD, MAX_KEYS, Sessions


def make_result(sessions, session):
    file = sessions.folder(session) / "duet-1.png"
    file.write_bytes(b"picture")
    sessions.keep(session, "generate", (file,))
    return file


def end_waiting(sessions):
    for session in list(sessions._held):
        sessions._remove(session)


def test_results_end_with_the_grace_period(tmp_path):
    sessions = Sessions(tmp_path, grace_s=0.2)
    assert sessions.enter("first", "a key") == {}
    file = make_result(sessions, "first")
    sessions.leave("first")
    assert file.exists()
    end = time.monotonic() + 60
    while time.monotonic() < end and file.exists():
        time.sleep(0.02)
    assert not file.exists()
    assert sessions.enter("second", "a key") == {}


def test_a_page_that_is_back_before_the_cut_is_noticed_has_the_results(tmp_path):
    sessions = Sessions(tmp_path, grace_s=60.0)
    sessions.enter("first", "a key")
    file = make_result(sessions, "first")
    assert sessions.enter("second", "a key") == {"generate": (file,)}
    sessions.leave("first")
    assert file.exists()
    assert sessions.enter("other", "another key") == {}
    sessions.leave("second")
    end_waiting(sessions)
    assert not file.exists()


@pytest.mark.parametrize("has_key", [True, False])
def test_without_a_grace_period_or_a_key_nothing_stays(tmp_path, has_key):
    sessions = Sessions(tmp_path, grace_s=0.0 if has_key else 60.0)
    if has_key:
        sessions.enter("first", "a key")
    file = make_result(sessions, "first")
    sessions.leave("first")
    assert not file.exists()


def test_only_so_many_results_wait(tmp_path):
    sessions = Sessions(tmp_path, grace_s=60.0)
    files = []
    for number in range(MAX_HELD + 2):
        sessions.enter(f"visit {number}", f"key {number}")
        files.append(make_result(sessions, f"visit {number}"))
        sessions.leave(f"visit {number}")
    assert [file.exists() for file in files] == [False] * 2 + [True] * MAX_HELD
    end_waiting(sessions)


def test_keys_without_results_take_no_lasting_memory(tmp_path):
    sessions = Sessions(tmp_path, grace_s=60.0)
    sessions.enter("first", "a key")
    file = make_result(sessions, "first")
    for number in range(MAX_KEYS + 1):
        sessions.enter(f"visit {number}", f"key {number}")
    assert len(sessions._keys) == MAX_KEYS
    sessions.leave("first")  # its key was forgotten
    assert not file.exists()
    assert sessions.enter("second", "a key") == {}


def test_a_visitor_of_many_keys_makes_room_and_no_other_does(tmp_path):
    sessions = Sessions(tmp_path, grace_s=60.0)
    sessions.enter("mine", "my key", "192.0.2.1")
    file = make_result(sessions, "mine")
    for number in range(MAX_KEYS + 10):
        sessions.enter(f"visit {number}", f"key {number}", "192.0.2.2")
    assert len(sessions._keys) == len(sessions._addresses) == MAX_KEYS
    sessions.leave("mine")
    for number in range(MAX_HELD + 10):
        session = f"other {number}"
        sessions.enter(session, session, "192.0.2.2")
        make_result(sessions, session)
        sessions.leave(session)
    assert len(sessions._held) == MAX_HELD
    assert sessions.enter("again", "my key", "192.0.2.1") == {"generate": (file,)}
    end_waiting(sessions)
