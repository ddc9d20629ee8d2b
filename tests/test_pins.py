"""Pins: the hashed list of the tested platform names the versions of the constraints."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
HASHED = re.compile(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str, pattern: re.Pattern[str]) -> dict[str, str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    plain = [line for line in lines if line and not line.startswith("#")]
    matches = [pattern.fullmatch(line) for line in plain]
    assert all(matches), [line for line, match in zip(plain, matches, strict=True) if not match]
    return {normalised(match[1]): match[2] for match in matches if match}


def test_hashed_pins_are_those_of_the_constraints():
    exact = pins("constraints.txt", re.compile(r"(\S+)==(\S+)"))
    hashed = pins(".ci/hashes-cp311-linux-x86_64.txt", HASHED)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (backend,) = project["build-system"]["requires"]
    backend_name, backend_version = backend.split("==")
    assert hashed[backend_name] == backend_version
    needed = {
        normalised(re.split(r"[>=\[]", line)[0]) for line in project["project"]["dependencies"]
    }
    assert needed <= set(hashed)
    differing = {
        name: (version, exact[name])
        for name, version in hashed.items()
        if name in exact and exact[name] != version
    }
    assert differing == {}
