"""What every test runs under: one torch thread, no network but loopback, optional tiers.

Sockets: a connection or name look-up that leaves this machine raises an `OSError`, as a cut
network would, and the test that made it fails at its end even when a library swallowed the error.
"""

import ipaddress
import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.long_files import position

# Before torch is imported anywhere: workers share few cores, and one thread makes sums repeatable.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_ATTEMPTS: list[str] = []


class NetworkBlockedError(OSError):
    """A test tried to reach something outside this machine."""


def _is_local(host: object) -> bool:
    """Whether `host` names this machine: nothing, localhost, a loopback or wildcard address."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _check(host: object) -> None:
    if not _is_local(host):
        _ATTEMPTS.append(str(host))
        raise NetworkBlockedError(f"Tests run without a network, but {host!r} was asked for.")


def _check_address(address: Any) -> None:
    if isinstance(address, tuple):  # AF_INET and AF_INET6; a str or bytes is a Unix socket
        _check(address[0])


@pytest.fixture(autouse=True, scope="session")
def _network_guard() -> Iterator[None]:
    """Replaces the ways out of the process for the whole session."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            original = getattr(socket.socket, name)

            def guarded(self: socket.socket, address: Any, _original: Any = original) -> Any:
                _check_address(address)
                return _original(self, address)

            patch.setattr(socket.socket, name, guarded)

        sendto, getaddrinfo = socket.socket.sendto, socket.getaddrinfo

        def guarded_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
            _check_address(rest[-1])
            return sendto(self, data, *rest)

        def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            _check(host)
            return getaddrinfo(host, *args, **kwargs)

        patch.setattr(socket.socket, "sendto", guarded_sendto)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def blocked_attempts(_network_guard: None) -> Iterator[list[str]]:
    """Hosts this test tried to reach; a test that means to clears the list before it ends."""
    _ATTEMPTS.clear()
    yield _ATTEMPTS
    attempts, _ATTEMPTS[:] = list(_ATTEMPTS), []
    assert not attempts, f"The test tried to leave this machine: {attempts}."


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Seeds the global generators, so that no test depends on those that ran before it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):  # no test pays for an import it does not need
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """A Chromium-like browser for the browser tier; skips where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long files first, and skips the gpu tier, with a reason, where there is no CUDA device.

    The order is the same in every worker of pytest-xdist, which must agree on it.
    """
    items.sort(key=lambda item: position(item.path))
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
