"""Shipped kits on a hub on loopback that serves replicas of their repositories."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from studio.cli import main
from tests.replicas.layout import Repository
from tests.studio.fake_hub import FakeHub, serve_all


@contextmanager
def kit_world(
    folder: Path, repositories: Mapping[str, Repository]
) -> Generator[FakeHub, None, None]:
    """Serve repositories, with cache and lock file below `folder`."""
    with serve_all(repositories) as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.endpoint)
        patch.setenv("HF_HUB_CACHE", str(folder / "cache"))
        patch.setenv("DUET_HOME", str(folder / "duet"))
        yield hub


def duet(*arguments: object) -> int:
    """Run a command line."""
    return main([str(argument) for argument in arguments])
