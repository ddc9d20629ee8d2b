"""A visitor of a page over HTTP, and one who searches as the page's own client does."""

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

API = "/gradio_api/"
WORDS = ("red chair", "a green lamp", "wooden table", "blue vase on a shelf", "teapot", "bicycle")
MOST_S = 300.0  # of one request


@dataclass(kw_only=True)
class Outcome:
    """What happened to all visitors.

    Attributes:
        calls: How often each kind of call was answered how.
        searches_s: Time of every honest search that was answered.
        failures: Why honest searches were not.
    """

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    searches_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def table(self) -> str:
        """A line for each kind of call and answer."""
        rows = sorted(self.calls.items())
        return "\n".join(f"{num:>6}  {what:<32} {how}" for (what, how), num in rows)

    def timing(self) -> str:
        """The times of honest searches in one line."""
        times, num_failures = sorted(self.searches_s), len(self.failures)
        if not times:
            return f"No search was answered, {num_failures} were not."
        p95 = times[int(0.95 * (len(times) - 1))]
        return (
            f"{len(times)} searches answered, {num_failures} not: p50 "
            f"{statistics.median(times):.2f} s, p95 {p95:.2f} s, longest {times[-1]:.2f} s."
        )


class Visitor:
    """One visitor, at an address of its own as a proxy would report it."""

    def __init__(self, base: str, number: int, outcome: Outcome) -> None:
        self.number, self.outcome, self.draws = number, outcome, random.Random(number)
        self.client = httpx.AsyncClient(
            base_url=base,
            timeout=MOST_S,
            headers={"x-forwarded-for": f"198.51.100.{number}"},
            limits=httpx.Limits(max_connections=80),
        )

    def strokes(self, num_points: int = 8) -> str:
        """One stroke of random points."""
        return json.dumps([[[self.draws.random(), self.draws.random()] for _ in range(num_points)]])

    async def note(
        self, what: str, method: str, path: str, **options: Any
    ) -> httpx.Response | None:
        """Make a request and count how it was answered."""
        try:
            answer = await self.client.request(method, path, **options)
        except httpx.HTTPError as error:
            self.outcome.calls[what, type(error).__name__] += 1
            return None
        self.outcome.calls[what, described(answer)] += 1
        return answer


def described(answer: httpx.Response) -> str:
    """The status of an answer, and the sentence of a refusal without what follows."""
    if answer.status_code == 200:
        return "200"
    try:
        text = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    return f"{answer.status_code} {text.strip().split('. ')[0][:70]}"


class HonestVisitor(Visitor):
    """A visitor whose page is open, and who draws and writes."""

    async def visit(self, num_searches: int, pause_s: float) -> None:
        """Open the page, search several times after pauses of a mean length, close it."""
        await self.client.get("/")
        functions = (await self.client.get("/config")).json()["dependencies"]
        search = next(each for each in functions if each["api_name"] == "retrieve")
        async with self.client.stream("GET", f"{API}heartbeat/visitor{self.number}"):
            for _ in range(num_searches):
                await asyncio.sleep(self.draws.uniform(0.0, 2.0) * pause_s)
                await self._search(search)
        await self.client.aclose()

    async def _search(self, search: dict[str, Any]) -> None:
        data: list[Any] = [None] * len(search["inputs"])
        data[:3] = [self.strokes(), self.draws.choice(WORDS), 0.5]
        body = {"data": data, "fn_index": search["id"], "session_hash": f"visitor{self.number}"}
        began = time.monotonic()
        try:
            problem = await self._finish(body)
        except httpx.HTTPError as error:
            problem = type(error).__name__
        self.outcome.calls["honest search", problem or "answered"] += 1
        if problem:
            self.outcome.failures.append(problem)
        else:
            self.outcome.searches_s.append(time.monotonic() - began)

    async def _finish(self, body: dict[str, Any]) -> str:
        """Send a search and read its events; empty if it succeeded."""
        answer = await self.client.post(f"{API}queue/join", json=body)
        if answer.status_code != 200:
            return described(answer)
        parameters = {"session_hash": body["session_hash"]}
        async with self.client.stream("GET", f"{API}queue/data", params=parameters) as events:
            async for line in events.aiter_lines():
                if "process_completed" in line:
                    return "" if json.loads(line.removeprefix("data:"))["success"] else "an error"
                if "unexpected_error" in line:
                    return "an unexpected error"
        return "the stream ended"
