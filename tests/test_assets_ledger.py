"""The ledger of assets/README.md against the files: everything has a row and stays within it."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[1] / "assets"
MEGABYTE = 1_000_000
TOTAL_BYTES = 165 * MEGABYTE
FILE_BYTES = 48 * MEGABYTE
PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
KNOWN_SUFFIXES = {
    "weights": {".safetensors"},
    "images": {".png", ".svg", ".webp"},
    "tables": {".npy", ".parquet", ".lance", ".txn", ".manifest"},
    "text": {".json", ".md", ".toml", ".txt"},
    "code": {".py"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the ledger: files under `path` that no longer path claims."""

    path: str
    budget_bytes: float
    origin: str
    licence: str


def read_ledger(text: str) -> list[Row]:
    """Parses the table: | `path` | megabytes | origin | licence |."""
    rows: list[Row] = []
    for cells in re.findall(r"^\| `(.+?)` \| ([\d.]+) \| (.+?) \| (.+?) \|$", text, re.MULTILINE):
        path, megabytes, origin, licence = cells
        budget_bytes = float(megabytes) * MEGABYTE
        rows.append(Row(path=path, budget_bytes=budget_bytes, origin=origin, licence=licence))
    return rows


def claim(name: str, rows: list[Row]) -> Row | None:
    """The row that a file belongs to: the longest path it lies under."""
    matches = [
        row
        for row in rows
        if name == row.path or (row.path.endswith("/") and name.startswith(row.path))
    ]
    return max(matches, key=lambda row: len(row.path), default=None)


def _files() -> dict[str, int]:
    files = (path for path in ASSETS.rglob("*") if path.is_file() or path.is_symlink())
    return {
        path.relative_to(ASSETS).as_posix(): path.lstat().st_size
        for path in files
        if "__pycache__" not in path.parts
    }


@pytest.fixture
def rows() -> list[Row]:
    return read_ledger((ASSETS / "README.md").read_text())


def test_the_ledger_reads_and_claims_by_the_longest_path():
    rows = read_ledger("| `a/` | 2 | x | y |\n| `a/b/` | 0.5 | x | y |\n| `c.md` | 1 | x | y |\n")
    assert [row.budget_bytes for row in rows] == [2e6, 5e5, 1e6]
    assert claim("a/b/file", rows) is rows[1]
    assert claim("a/bc", rows) is rows[0]
    assert claim("c.md.bak", rows) is None


def test_every_file_has_a_row(rows: list[Row]):
    assert rows
    assert [name for name in _files() if claim(name, rows) is None] == []


def test_no_row_exceeds_its_budget(rows: list[Row]):
    spent = dict.fromkeys((row.path for row in rows), 0)
    for name, size_bytes in _files().items():
        if row := claim(name, rows):
            spent[row.path] += size_bytes
    over = {row.path: spent[row.path] for row in rows if spent[row.path] > row.budget_bytes}
    assert over == {}


def test_the_budgets_and_the_files_stay_below_the_limits(rows: list[Row]):
    assert sum(row.budget_bytes for row in rows) <= TOTAL_BYTES
    sizes = _files()
    assert sum(sizes.values()) < TOTAL_BYTES
    assert {name: size for name, size in sizes.items() if size >= FILE_BYTES} == {}


def test_only_known_formats_and_no_links():
    suffixes = {name: Path(name).suffix.lower() for name in _files()}
    known = set().union(*KNOWN_SUFFIXES.values())
    assert not known & PICKLES
    assert {name for name, suffix in suffixes.items() if suffix not in known} == set()
    assert [path for path in ASSETS.rglob("*") if path.is_symlink()] == []
