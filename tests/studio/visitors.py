"""Visitors of a public page, some of them hostile: who is answered, who is refused, how fast.

    python -m tests.studio.visitors             opens a page of its own, and watches its process
    python -m tests.studio.visitors ADDRESS     visits one that was opened on this machine with
                                                duet demo --public --proxy 127.0.0.1

Everything ends after a time, and no other machine is asked.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.studio.hostile_visitor import HostileVisitor, bombs
from tests.studio.visitor import MOST_S, HonestVisitor, Outcome

OPEN_S = 300.0  # for a server to open its page where cores are shared


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """How many visitors there are, and how often honest ones search.

    Attributes:
        honest: Visitors who search.
        hostile: Visitors who attack until the honest ones are done.
        num_searches: Searches of each honest visitor.
        pause_s: Mean time before each.
    """

    honest: int = 40
    hostile: int = 10
    num_searches: int = 6
    pause_s: float = 10.0


async def send(base: str, crowd: Crowd) -> Outcome:
    """Let a crowd visit a page of this machine until the honest ones are done.

    Raises:
        ValueError: The page is not one of this machine.
    """
    if urlsplit(base).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("Only a page of this machine is visited.")
    bombs()
    outcome = Outcome()
    honest = [HonestVisitor(base, number + 1, outcome) for number in range(crowd.honest)]
    hostile = [HostileVisitor(base, 200 + number, outcome) for number in range(crowd.hostile)]
    attacks = [asyncio.create_task(one.visit()) for one in hostile]
    visits = (one.visit(crowd.num_searches, crowd.pause_s) for one in honest)
    try:
        await asyncio.wait_for(asyncio.gather(*visits), 2 * MOST_S)
    finally:
        for attack in attacks:
            attack.cancel()
        await asyncio.gather(*attacks, return_exceptions=True)
    return outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class PageProcess:
    """A server of its own, with all its files below one folder."""

    address: str
    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    def said(self) -> str:
        """What it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def num_files(self) -> int:
        """Files in its private folder."""
        return sum(path.is_file() for path in self.folder.rglob("*"))

    def cpu_s(self) -> float:
        """Processor time that it has taken; 0 where the system does not say."""
        stat = Path("/proc", str(self.process.pid), "stat")
        if not stat.exists():
            return 0.0
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Resident memory; 0 where the system does not say."""
        status = Path("/proc", str(self.process.pid), "status")
        if not status.exists():
            return 0.0
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def opened_page(arguments: Sequence[str] = ()) -> Generator[PageProcess, None, None]:
    """Open a public page of the shipped gallery in another process, and stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name, "page"), Path(name, "log")
        folder.mkdir()
        command = [
            sys.executable, "-m", "studio", "demo", "--no-browser", "--public",
            "--proxy", "127.0.0.1", "--port", str(port), *arguments,
        ]  # fmt: skip
        environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        page = PageProcess(
            address=f"http://127.0.0.1:{port}", process=process, folder=folder, log=log
        )
        try:
            _wait_until_open(page)
            yield page
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_open(page: PageProcess) -> None:
    end_s = time.monotonic() + OPEN_S
    while "is open at" not in page.said():
        if page.process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"The page did not open: {page.said()}")
        time.sleep(0.2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What a crowd did to a page of its own, before and after."""

    outcome: Outcome
    memory_mib: tuple[float, float]
    num_files: tuple[int, int]
    cpu_s: float
    duration_s: float
    said: str

    def report(self) -> str:
        """The table, and a line on the page's process."""
        (before, after), (few, many) = self.memory_mib, self.num_files
        return (
            f"{self.outcome.table()}\n{self.outcome.timing()}\n"
            f"{self.duration_s:.0f} s, {self.cpu_s:.0f} s of the processor for the page. Memory "
            f"{before:.0f} MiB before, {after:.0f} MiB after; files {few} before, {many} after; "
            f"{self.said.count('Traceback')} tracebacks."
        )


def watch(crowd: Crowd, arguments: Sequence[str] = ()) -> Watched:
    """Let a crowd visit a page of its own."""
    first = Crowd(honest=2, hostile=3, num_searches=3, pause_s=2.0)
    with opened_page(arguments) as page:
        asyncio.run(send(page.address, first))  # loads what is loaded once
        memory_mib, num_files, cpu_s = page.memory_mib(), page.num_files(), page.cpu_s()
        began = time.monotonic()
        outcome = asyncio.run(send(page.address, crowd))
        return Watched(
            outcome=outcome,
            memory_mib=(memory_mib, page.memory_mib()),
            num_files=(num_files, page.num_files()),
            cpu_s=page.cpu_s() - cpu_s,
            duration_s=time.monotonic() - began,
            said=page.said(),
        )


def main() -> None:
    """Read the arguments, send the crowd, print what happened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", nargs="?", help="page of this machine; default: one of its own")
    for name, default in (("honest", 40), ("hostile", 10), ("searches", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--pause", type=float, default=10.0, help="mean seconds before a search")
    chosen = parser.parse_args()
    crowd = Crowd(
        honest=min(chosen.honest, 100),
        hostile=min(chosen.hostile, 50),
        num_searches=min(chosen.searches, 100),
        pause_s=min(chosen.pause, 30.0),
    )
    if chosen.address is None:
        report = watch(crowd).report()
    else:
        outcome = asyncio.run(send(chosen.address.rstrip("/"), crowd))
        report = f"{outcome.table()}\n{outcome.timing()}"
    sys.stdout.write(f"{report}\n")


if __name__ == "__main__":
    main()
