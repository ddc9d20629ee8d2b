"""A model hub on loopback: the two endpoints that a download needs, with faults to order.

It serves one repository of files from memory, or several by name.
"""

import hashlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = "a" * 40
REPOSITORY = "owner/model"


class FakeHub:
    """What is served, and what was asked.

    Attributes:
        repositories: Content of each repository's files, by name.
        announced: SHA-256 that is announced in place of the true one, by name.
        break_after: Cut the connection at that many bytes of a file, whoever resumes.
        requests: Method and path of everything that was asked.
        starts: Where each download of a file began, in bytes.
        gated: Repositories whose files want a token; everybody may list them.
        status: Answer everything with this status, if set.
    """

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        self.repositories, self.announced = repositories, dict[str, str]()
        self.break_after: int | None = None
        self.status: int | None = None
        self.requests: list[str] = []
        self.starts: list[int] = []
        self.gated: set[str] = set()
        self.endpoint = ""

    def sha256(self, repository: str, name: str) -> str:
        content = self.repositories[repository][name]
        return self.announced.get(name, hashlib.sha256(content).hexdigest())

    def listing(self, repository: str) -> bytes:
        siblings = []
        for name, content in self.repositories[repository].items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": "b"}
            if name.endswith(".safetensors"):
                entry["lfs"] = {
                    "sha256": self.sha256(repository, name),
                    "size": len(content),
                    "pointerSize": 1,
                }
            siblings.append(entry)
        listing = {"id": repository, "sha": revision_of(repository), "siblings": siblings}
        listing["gated"] = "auto" if repository in self.gated else False
        return json.dumps(listing).encode()


def revision_of(repository: str) -> str:
    """The commit of a repository's only revision."""
    return SHA if repository == REPOSITORY else hashlib.sha1(repository.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if self.hub.status is not None:
            self._send(self.hub.status, b"", {}, body)
        elif path.startswith("/api/models/") and (name := self._named(path, 3)):
            self._send(200, self.hub.listing(name), {"Content-Type": "application/json"}, body)
        elif "/resolve/" in path and (name := self._named(path, 1)):
            self._file(name, path.split("/resolve/")[1].split("/", 1)[1], body)
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)

    def _named(self, path: str, start: int) -> str | None:
        """The repository in a path, from its part `start` on; None where it is unknown."""
        name = "/".join(path.split("/")[start : start + 2])
        return name if name in self.hub.repositories else None

    def _file(self, repository: str, name: str, body: bool) -> None:
        if repository in self.hub.gated and "Authorization" not in self.headers:
            self._send(401, b"", {"X-Error-Code": "GatedRepo"}, body)
            return
        content, status = self.hub.repositories[repository][name], 200
        start = 0
        if wanted := self.headers.get("Range"):
            start, status = int(wanted.removeprefix("bytes=").split("-")[0]), 206
        if body:
            self.hub.starts.append(start)
        headers = {
            "X-Repo-Commit": revision_of(repository),
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(status, content[start:], headers, body, start)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], body: bool, start: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if self.hub.break_after is not None and "resolve" in self.path:
            content = content[: max(0, self.hub.break_after - start)]
            self.close_connection = True
        self.wfile.write(content)


@contextmanager
def serve(files: dict[str, bytes]) -> Generator[FakeHub, None, None]:
    """Serve the files of one repository until the block ends."""
    with serve_all({REPOSITORY: files}) as hub:
        yield hub


@contextmanager
def serve_all(repositories: Mapping[str, dict[str, bytes]]) -> Generator[FakeHub, None, None]:
    """Serve several repositories until the block ends."""
    hub = FakeHub(dict(repositories))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
