"""Order of the test files."""

from pathlib import Path

from tests.long_files import LONG_FILES, position

TESTS = Path(__file__).parent


def test_long_files_come_first_and_in_their_order(request):
    assert len(set(LONG_FILES)) == len(LONG_FILES)
    for name in LONG_FILES:
        assert (TESTS / name).is_file(), name
    paths = [TESTS / "test_layers.py", *(TESTS / name for name in reversed(LONG_FILES))]
    expected = [*(TESTS / name for name in LONG_FILES), TESTS / "test_layers.py"]
    assert sorted(paths, key=position) == expected
    collected = [position(item.path) for item in request.session.items]
    assert collected == sorted(collected)


def test_the_order_holds_on_several_cores(repo_root):
    assert "--dist loadfile --no-loadscope-reorder" in (repo_root / "Makefile").read_text()
