"""References of texts and docstrings: everything cited can be opened in this repository."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("composer", "retrieval", "generation", "studio", "assets", "tests")
PAGES = sorted(
    [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "NOTICE.md", "CHANGELOG.md")),
        *(ROOT / "assets").rglob("*.md"),
    ]
)
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A folder of the repository, a slash, and what lies below it; globs and placeholders are no paths.
FOLDERS = ("assets", "composer", "docs", "generation", "retrieval", "studio", "tests", r"\.ci")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)(?:::(\w+))?`")
PAGE = re.compile(r"\bdocs/[\w/-]+\.md\b")
# Labels and pages of working papers that readers do not have.
UNREACHABLE = re.compile(r"\(R\d+(?:, R\d+)*\)|\bDESIGN\.md\b|(?<!docs/)\bpapers\.md \d")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def broken_links(text: str, folder: Path) -> list[str]:
    """Return relative links of a page in `folder` that lead nowhere."""
    links = [link for link in LINK.findall(text) if not re.match(r"[a-z]+:|#", link)]
    return [link for link in links if not (folder / link.partition("#")[0]).exists()]


def broken_paths(text: str) -> list[str]:
    """Return paths in backticks, and tests named in them, that the repository does not have."""
    broken: list[str] = []
    for name, test in PATH.findall(text):
        path = ROOT / name
        if not path.exists() or (test and f"def {test}(" not in path.read_text()):
            broken.append(f"{name}::{test}" if test else name)
    return broken


def prose(source: str) -> Iterator[str]:
    """Yield the strings and comments of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    yield from re.findall(r"#.*", source)


def test_what_is_broken_is_noticed():
    text = "[a](README.md#top) [b](gone.md) [c](https://example.org) [d](#part)"
    assert broken_links(text, ROOT) == ["gone.md"]
    text = "`tests/test_links.py::test_gone` `tests/test_links.py::prose` `docs/gone.md` `a/b`"
    assert broken_paths(text) == ["tests/test_links.py::test_gone", "docs/gone.md"]
    assert UNREACHABLE.findall("blocked (R1, R2); DESIGN.md; papers.md 2; `docs/papers.md` 2") == [
        "(R1, R2)",
        "DESIGN.md",
        "papers.md 2",
    ]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_cites_what_is_there(page: Path):
    text = page.read_text(encoding="utf-8")
    assert broken_links(text, page.parent) == []
    assert broken_paths(text) == []
    assert UNREACHABLE.findall(text) == []


def test_modules_cite_pages_that_are_there():
    broken: list[str] = []
    for path in MODULES:
        if path == Path(__file__):
            continue
        for text in prose(path.read_text(encoding="utf-8")):
            pages = [page for page in PAGE.findall(text) if not (ROOT / page).is_file()]
            cited = [*pages, *UNREACHABLE.findall(text)]
            broken += [f"{_name(path)}: {reference}" for reference in cited]
    assert broken == []


def test_the_ledger_names_what_is_there():
    text = (ROOT / "assets" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
    assert [row for row in rows if not (ROOT / "assets" / row).exists()] == []
