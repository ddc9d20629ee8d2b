"""The catalogue's queries in sentences that no training has.

The finishes stay as they are named: only the sentence around them is new, so that the difference to
the protocol's own words says how much hangs on their form.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from retrieval.benchmarks.catalogue import Case, Protocol

Finishes = Sequence[tuple[str, str]]


def _verb(part: str) -> str:
    return "are" if part.endswith("s") and not part.endswith(("ss", "glass")) else "is"


# Written for this benchmark; training says "with a red seat", "in red", "seat in red", "red seat".
WORDINGS: tuple[Callable[[str, str], str], ...] = (
    lambda part, finish: f"the {part} should be {finish}",
    lambda part, finish: f"{part}: {finish}",
    lambda part, finish: f"I want {finish} for the {part}",
    lambda part, finish: f"its {part} {_verb(part)} made of {finish}",
    lambda part, finish: f"the one whose {part} {_verb(part)} {finish}",
    lambda part, finish: f"{finish} on the {part}",
)


def reworded(protocol: Protocol, *, seed: int = 0) -> Protocol:
    """Say the words of every case otherwise; cases with the same words get the same new ones.

    Raises:
        ValueError: A case does not say which part has which finish.
    """
    if any(not case.finishes for case in protocol.cases):
        raise ValueError("Only words that name parts and finishes can be said otherwise.")
    said = sorted({case.attributes for case in protocol.cases})
    choices = np.random.default_rng(seed).integers(len(WORDINGS), size=len(said))
    chosen = dict(zip(said, choices.tolist(), strict=True))
    cases = (replace(case, attributes=_say(case, chosen)) for case in protocol.cases)
    return replace(protocol, cases=tuple(cases))


def _say(case: Case, chosen: dict[str, int]) -> str:
    wording = WORDINGS[chosen[case.attributes]]
    return ", ".join(wording(part, finish) for part, finish in case.finishes)
