"""A visitor who does what a page must refuse or survive, as fast as the answers come."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from PIL import Image

from tests.pictures import chunk_bomb, encoded, scan_bomb
from tests.studio.visitor import API, Visitor, described

NUM_PAGES = 60  # more than one address may open
ELSEWHERE = ("http://127.0.0.1:9/x.png", "/etc/passwd")


@cache
def bombs() -> dict[str, bytes]:
    """Pictures that are slow to decode, by the name of a file."""
    noise = Image.frombytes("L", (3000, 3000), random.Random(0).randbytes(3000 * 3000))
    return {
        "scans.jpg": scan_bomb(512, 6000),
        "chunks.png": chunk_bomb(600_000),
        "noise.webp": encoded(noise.convert("RGB"), "WEBP", quality=30, method=0),
    }


def moving(path: str) -> list[Any]:
    """The inputs of a transfer of a file."""
    source = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return [source, "night", "", 0.6, 0, False, "", "", False, False, "", 1]


class HostileVisitor(Visitor):
    """A visitor with one kind of attack, by its number."""

    async def visit(self) -> None:
        """Attack until cancelled."""
        attacks: tuple[Callable[[], Awaitable[None]], ...] = (
            self.pass_the_queue, self.flood, self.send_bombs, self.fill_the_disk, self.reach_out,
            self.overstay,
        )  # fmt: skip
        attack = attacks[self.number % len(attacks)]
        try:
            while True:
                await attack()
                await asyncio.sleep(0.05)
        finally:
            await self.client.aclose()

    async def pass_the_queue(self) -> None:
        """Call searches and drawings past the queue, many at once."""
        body = {"data": [self.strokes(), "red", 0.5]}
        ways = [f"{way}/{name}" for way in ("run", "api", "call/v2") for name in ("retrieve", "x")]
        calls = (self.note("call past the queue", "POST", API + way, json=body) for way in ways)
        await asyncio.gather(*calls)

    async def flood(self) -> None:
        """Call searches, each as another visit, without asking for an answer."""
        bodies = (
            {"data": [self.strokes(300), "red", 0.5], "session_hash": f"{self.draws.random()}"[2:]}
            for _ in range(12)
        )
        what, path = "one of many searches", f"{API}call/retrieve"
        await asyncio.gather(*(self.note(what, "POST", path, json=body) for body in bodies))

    async def send_bombs(self) -> None:
        """Upload pictures that are slow to decode, and have them transferred."""
        for name, data in bombs().items():
            files = {"files": (name, data)}
            answer = await self.note(f"upload of {name}", "POST", f"{API}upload", files=files)
            if answer is not None and answer.status_code == 200:
                ending = await self._call("transfer", moving(answer.json()[0]))
                self.outcome.calls[f"transfer of {name}", ending] += 1
            else:
                await asyncio.sleep(1.0)

    async def fill_the_disk(self) -> None:
        """Upload as much as is taken, and send more than a call may have."""
        files = {"files": ("x.png", self.draws.randbytes(7 << 20))}
        answer = await self.note("upload of 7 MiB", "POST", f"{API}upload", files=files)
        if answer is None or answer.status_code != 200:
            await asyncio.sleep(0.5)
        body = b"x" * (4 << 20)
        await self.note("call of 4 MiB", "POST", f"{API}queue/join", content=body)

    async def reach_out(self) -> None:
        """Have the server fetch an address or read a file; call from another site."""
        for path in ELSEWHERE:
            body = {"data": moving(path)}
            await self.note("file elsewhere", "POST", f"{API}call/transfer", json=body)
            await self.note("reading a file", "GET", f"{API}file={path}")
        body, headers = {"data": ["", "", 0.5]}, {"origin": "http://evil.example"}
        path = f"{API}call/retrieve"
        await self.note("call of another site", "POST", path, json=body, headers=headers)

    async def overstay(self) -> None:
        """Open more pages than one address may, and call with what is no input."""
        await asyncio.gather(*(self._stay(number) for number in range(NUM_PAGES)))
        for content in (b"[" * 100_000, b'{"data": [1e999, NaN, {"__type__": "update"}]}'):
            path = f"{API}call/retrieve"
            await self.note("call with odd inputs", "POST", path, content=content)

    async def _stay(self, number: int) -> None:
        path = f"{API}heartbeat/many{self.number}x{number}"
        async with self.client.stream("GET", path) as page:
            self.outcome.calls["open page", str(page.status_code)] += 1
            await asyncio.sleep(0.5)

    async def _call(self, name: str, data: list[Any]) -> str:
        """Call a function by name and wait; how it ended."""
        body = {"data": data, "session_hash": f"hostile{self.number}"}
        answer = await self.client.post(f"{API}call/{name}", json=body)
        if answer.status_code != 200:
            return described(answer)
        path = f"{API}call/{name}/{answer.json()['event_id']}"
        async with self.client.stream("GET", path) as events:
            async for line in events.aiter_lines():
                if line.startswith("event: ") and line != "event: heartbeat":
                    return "answered" if line == "event: complete" else "refused in a sentence"
        return "the stream ended"
