"""Test files that take longest, which the runs on several cores begin with."""

from pathlib import Path

# Longest first. A file runs on one core: one of these at the end would leave the others idle.
LONG_FILES = (
    "retrieval/indexing/test_cluster.py",
    "retrieval/store/test_crash_safety.py",
    "studio/test_shipped_kit.py",
    "contracts/test_indexes.py",
    "composer/training/duet/test_runs.py",
    "composer/training/words/test_run.py",
    "retrieval/benchmarks/test_engines.py",
    "studio/test_bench_composers.py",
    "retrieval/store/test_location.py",
    "studio/test_cli_index.py",
    "assets/test_kinds_others.py",
    "studio/test_cli.py",
    "composer/training/test_sentence_training.py",
    "contracts/test_composers.py",
)
_TESTS = Path(__file__).parent
_ORDER = {_TESTS / name: position for position, name in enumerate(LONG_FILES)}


def position(path: Path) -> int:
    """Return the place of a test file in a run: files that are not long come last."""
    return _ORDER.get(path, len(_ORDER))
