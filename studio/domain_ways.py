"""Ways to ask for a domain, for the benchmark of transfers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from composer.data.domain_pictures import DomainPicture
from retrieval.benchmarks.media import DOMAIN_WORDS
from studio.domain_examples import read_examples
from studio.domains import Learning, domain_word, learn_domain
from studio.engine import Engine

NUM_EXAMPLES: Final = 5
_NAME = "examples"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asking:
    """What a domain is asked for with.

    Attributes:
        engine: Reads the text.
        text: The words.
        shown: Kinds of the examples; without examples a kind that stands for chance.
    """

    engine: Engine
    text: str
    shown: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DomainWorld:
    """A kit, and pictures of test designs in every domain as examples.

    Attributes:
        engine: The kit.
        pictures: The pictures.
        learning: How domains are learned.
        kind: The kind that examples of one kind show, and no others do.
    """

    engine: Engine
    pictures: Sequence[DomainPicture]
    learning: Learning
    kind: str


def by_name(world: DomainWorld, domain: str) -> Asking | None:
    """Ask by the name that captions use, as the kit's presets do; None without one."""
    return _by_text(world, domain) if domain in DOMAIN_WORDS else None


def by_words(world: DomainWorld, domain: str) -> Asking | None:
    """Ask by words that no caption has; None for a domain that none describe."""
    return _by_text(world, DOMAIN_WORDS[domain]) if domain in DOMAIN_WORDS else None


def by_examples(world: DomainWorld, domain: str) -> Asking:
    """Ask by examples, each of another kind."""
    chosen: dict[str, DomainPicture] = {}
    for one in world.pictures:
        if one.domain == domain and one.kind != world.kind and len(chosen) < NUM_EXAMPLES:
            chosen.setdefault(one.kind, one)
    return _by_pictures(world, list(chosen.values()))


def by_one_kind(world: DomainWorld, domain: str) -> Asking:
    """Ask by examples of one kind, whose content must not leak."""
    examples = [one for one in world.pictures if (one.domain, one.kind) == (domain, world.kind)]
    return _by_pictures(world, examples[:NUM_EXAMPLES])


WAYS: Final[Mapping[str, Callable[[DomainWorld, str], Asking | None]]] = {
    "name": by_name,
    "words": by_words,
    "examples": by_examples,
    "one-kind": by_one_kind,
}


def _by_text(world: DomainWorld, text: str) -> Asking:
    return Asking(engine=world.engine, text=text, shown=frozenset({world.kind}))


def _by_pictures(world: DomainWorld, examples: Sequence[DomainPicture]) -> Asking:
    engine = world.engine
    read = read_examples([one.file for one in examples], engine.backbone, "the examples")
    word = domain_word(engine, learn_domain(engine, _NAME, read, world.learning))
    shown = frozenset(one.kind for one in examples)
    return Asking(engine=engine.with_words([word]), text=word.mark, shown=shown)
