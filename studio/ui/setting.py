"""What the page works with, and what its handlers read of their inputs alike."""

from dataclasses import dataclass
from pathlib import Path

from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import Sketch
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError
from studio.ui.examples import Example
from studio.ui.inputs import real, text
from studio.ui.security import PageCaps

GONE = "There is no such picture any more; choose another."


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What the page works with.

    Attributes:
        engine: The kit.
        index: The gallery, as `Engine.gallery` takes it; None is the shipped one.
        composer: Name of the composer.
        caps: Limits.
        folder: Private folder whose files may be served.
        examples: Queries to start from.
    """

    engine: Engine
    index: Path | str | None
    composer: str
    caps: PageCaps
    folder: Path
    examples: tuple[Example, ...] = ()

    def compose(self, query: Query, balance: object) -> ComposedQuery:
        """Compose a query, weighed as a client asked.

        Raises:
            RequestError: The balance is no number.
            ValueError: The balance is not in [0, 1].
        """
        how = ComposeOptions(composer=self.composer, balance=real(balance, "The balance"))
        return self.engine.compose(query, how)


def query_of(strokes: object, words: object) -> Query | None:
    """Make the query from what a client sent; None where there is nothing in it.

    Raises:
        RequestError: It is no text.
        ValueError: It is no drawing, or too much.
    """
    drawing, said = text(strokes, "The drawing"), text(words, "The words")
    sketch = Sketch.from_json(drawing) if drawing.strip() not in ("", "[]") else None
    if sketch is None and not said.strip():
        return None
    return Query(sketch=sketch, text=said)


def position(index: object, num: int) -> int:
    """Check an index that a client sent.

    Raises:
        UsageError: There is nothing at it.
    """
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < num:
        raise UsageError(GONE)
    return index
