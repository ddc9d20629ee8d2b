"""Context of the page's handlers, and the inputs that several of them read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from composer.added_words import AddedWord
from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import Sketch
from studio.content_check import ContentCheck
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError
from studio.ui.examples import ExampleQuery
from studio.ui.inputs import checked_float, checked_text
from studio.ui.security import PageCaps

NO_SUCH_PICTURE = "There is no such picture; choose another."


@dataclass(frozen=True, kw_only=True, slots=True)
class PageContext:
    """Everything that the handlers need.

    Attributes:
        engine: The engine of the kit.
        index: The gallery, as `Engine.gallery` takes it; None is the shipped one.
        composer: Name of the composer.
        caps: Limits of the page.
        folder: Private folder whose files are served.
        examples: Example queries.
        may_show: The operator's check of what is drawn, if any.
        offers_saved: Whether visitors may use the domains that the operator saved.
    """

    engine: Engine
    index: Path | str | None
    composer: str
    caps: PageCaps
    folder: Path
    examples: tuple[ExampleQuery, ...] = ()
    may_show: ContentCheck | None = None
    offers_saved: bool = True

    def compose(
        self, query: Query, balance: object, added_words: Sequence[AddedWord] = ()
    ) -> ComposedQuery:
        """Compose a query with the balance that a client sent.

        Args:
            query: The query.
            balance: As it was sent.
            added_words: Words that the visitor added.

        Raises:
            RequestError: The balance is no number.
            InputError: The balance is not in [0, 1].
        """
        options = ComposeOptions(
            composer=self.composer, balance=checked_float(balance, "The balance")
        )
        return self.engine.with_words(added_words).compose(query, options)


def read_query(strokes: object, words: object) -> Query | None:
    """Return the query that a client sent; None if it is empty.

    Raises:
        RequestError: An input is no text.
        InputError: The strokes are no drawing, or the query is too large.
    """
    drawing = checked_text(strokes, "The drawing")
    text = checked_text(words, "The words")
    sketch = Sketch.from_json(drawing) if drawing.strip() not in ("", "[]") else None
    if sketch is None and not text.strip():
        return None
    return Query(sketch=sketch, text=text)


def checked_index(index: object, num: int) -> int:
    """Return an index that a client sent, checked.

    Raises:
        UsageError: The index is out of range.
    """
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < num:
        raise UsageError(NO_SUCH_PICTURE)
    return index
