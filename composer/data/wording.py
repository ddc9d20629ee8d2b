"""Words for pictures, and the facts they claim."""

from dataclasses import dataclass

import numpy as np

from composer.data.catalogue import PHOTO, PackItem
from composer.training.phrases import MEDIUM_PHRASES

Facts = frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """Words that describe one picture.

    Attributes:
        text: The words.
        facts: What they claim; true of every picture whose `item_facts` contain them all.
    """

    text: str
    facts: Facts


def item_facts(item: PackItem) -> Facts:
    """Return everything that words can claim of a picture's finishes, by part and of any part."""
    facts: set[str] = set()
    named = zip(item.part_names, item.part_finishes, item.part_colours, strict=True)
    for part, finish, colour in named:
        facts |= {f"{part}={finish}", f"{part}~{colour}", f"any={finish}", f"any~{colour}"}
    return frozenset(facts)


def attribute_wording(item: PackItem) -> Wording:
    """Return the benchmark's words: the attribute phrase, without kind and shape."""
    named = zip(item.part_names, item.part_finishes, strict=True)
    return Wording(text=item.attributes, facts=frozenset(f"{p}={f}" for p, f in named))


def sample_wording(item: PackItem, rng: np.random.Generator) -> Wording:
    """Draw words for a photo: attributes, some of them, colours alone, or a paraphrase."""
    if not item.part_names:
        return Wording(text=item.caption, facts=frozenset())
    choice = rng.random()
    if choice < 0.45:
        return attribute_wording(item)
    if choice < 0.65:
        return _some_finishes(item, rng)
    if choice < 0.8:
        return _single_finish(item, rng)
    return _paraphrase(item, rng)


def sample_domain_wording(item: PackItem, rng: np.random.Generator) -> Wording:
    """Draw words that name the medium of a picture, and half of the time its finishes too.

    Raises:
        ValueError: The picture is a photo or of a domain that words do not name.
    """
    if item.domain not in MEDIUM_PHRASES:
        raise ValueError(f"There are no words for the domain {item.domain!r}.")
    phrase = str(rng.choice(np.array(MEDIUM_PHRASES[item.domain])))
    # Media without colour show no finishes.
    is_coloured = bool(item.part_finishes) and item.part_finishes[0] in item.caption
    if not is_coloured or rng.random() < 0.5:
        return Wording(text=phrase, facts=frozenset())
    attributes = attribute_wording(item)
    pieces = (attributes.text, phrase) if rng.random() < 0.5 else (phrase, attributes.text)
    return Wording(text=", ".join(pieces), facts=attributes.facts)


def is_photo(item: PackItem) -> bool:
    """Return whether the picture is a plain photo."""
    return item.domain == PHOTO


def _some_finishes(item: PackItem, rng: np.random.Generator) -> Wording:
    num_parts = len(item.part_names)
    count = int(rng.integers(1, num_parts + 1))
    chosen = rng.permutation(num_parts)[:count]
    phrases = [f"{item.part_finishes[i]} {item.part_names[i]}" for i in chosen]
    lead = "with " if rng.random() < 0.7 else ""
    text = lead + " and ".join(with_article(phrase) for phrase in phrases)
    facts = frozenset(f"{item.part_names[i]}={item.part_finishes[i]}" for i in chosen)
    return Wording(text=text, facts=facts)


def _single_finish(item: PackItem, rng: np.random.Generator) -> Wording:
    first = int(rng.integers(0, len(item.part_names)))
    part, finish = item.part_names[first], item.part_finishes[first]
    colour = item.part_colours[first]
    options = (
        Wording(text=f"in {finish}", facts=frozenset({f"any={finish}"})),
        Wording(text=finish, facts=frozenset({f"any={finish}"})),
        Wording(text=colour, facts=frozenset({f"any~{colour}"})),
        Wording(text=f"{colour} {part}", facts=frozenset({f"{part}~{colour}"})),
    )
    return options[int(rng.integers(0, len(options)))]


def _paraphrase(item: PackItem, rng: np.random.Generator) -> Wording:
    texts = (item.caption, *item.paraphrases)
    text = texts[int(rng.integers(0, len(texts)))]
    claimed = frozenset(f"any={finish}" for finish in item.part_finishes if finish in text)
    if text == item.caption:
        claimed = attribute_wording(item).facts
    return Wording(text=text, facts=claimed)


def with_article(noun: str) -> str:
    """Put "a" or "an" before a singular noun phrase; a plural (ending in one s) stays bare."""
    if noun.endswith("s") and not noun.endswith(("ss", "glass")):
        return noun
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
