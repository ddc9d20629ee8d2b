"""A real Milvus server from the PyPI wheel `milvus`, on free ports and in a folder of its own."""

import socket
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

START_S = 120
_ETCD = """\
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


def _free_ports(num: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(num)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


@contextmanager
def milvus_server(folder: Path) -> Generator[str, None, None]:
    """Runs a server while the context lasts; skips where the wheel is not installed."""
    milvus = pytest.importorskip("milvus", reason="the wheel `milvus` (extra dev) is not installed")
    config = milvus.MilvusServerConfig(data_dir=str(folder))
    keys = [key for key in config.configurable_items if key.endswith("_port")]
    *ports, peer, web = _free_ports(len(keys) + 2)
    config.update(**dict(zip(keys, ports, strict=True)))
    # The wheel's etcd listens on its usual ports, whatever it is told, unless a file names others.
    etcd = folder / "etcd.yaml"
    etcd.write_text(_ETCD.format(client=ports[keys.index("etcd_port")], peer=peer))
    use = "  use:\n"
    assert use in config.template_text
    config.template_text = config.template_text.replace(use, f"  config:\n    path: {etcd}\n{use}")
    server = milvus.MilvusServer(config, wait_for_started=False)
    server.webservice_port = web
    server.start()
    try:
        _wait(server, folder / "logs")
        yield f"http://127.0.0.1:{server.listen_port}"
    finally:
        server.stop()


def _wait(server: Any, logs: Path) -> None:
    """The wheel itself would wait three minutes for a server that has stopped."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.server_proc.poll() is not None:
            break
        try:
            address = f"http://127.0.0.1:{server.webservice_port}/healthz"
            with urllib.request.urlopen(address, timeout=5) as answer:
                if b"OK" in answer.read():
                    return
        except OSError:
            pass
        time.sleep(0.2)
    log = (logs / "milvus-stderr.log").read_text()[:2000]
    pytest.fail(f"The Milvus server did not start in {START_S} s: {log}")
