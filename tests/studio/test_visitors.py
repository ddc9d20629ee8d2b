"""Forty visitors search while ten attack the page: every search is answered."""

import pytest

from tests.studio.page import shared_world
from tests.studio.visitors import Crowd, watch

pytestmark = pytest.mark.slow


def test_honest_visitors_are_answered_beside_hostile_ones(
    tmp_path_factory: pytest.TempPathFactory,
):
    world = shared_world(tmp_path_factory)
    crowd = Crowd(num_searches=3, pause_s=5.0)
    watched = watch(crowd, ("--kit", str(world.kit), "--index", str(world.index)))
    outcome = watched.outcome
    assert outcome.failures == [], watched.report()
    assert len(outcome.searches_s) == crowd.honest * crowd.num_searches
    answers = {
        what: {how for other, how in outcome.calls if other == what} for what, _ in outcome.calls
    }
    taken = {what for what, hows in answers.items() if "200" in hows or "answered" in hows}
    assert not taken & {
        "call past the queue", "file elsewhere", "reading a file", "call of another site",
        "call of 4 MiB", "transfer of scans.jpg", "transfer of chunks.png",
    }  # fmt: skip
    for what, how in outcome.calls:
        assert not how.startswith("5"), (what, how)
        assert "inputs, got" not in how, (what, how)  # the attack would be none
    assert "Traceback" not in watched.said
    assert watched.memory_mib[1] - watched.memory_mib[0] < 350
