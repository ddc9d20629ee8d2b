"""The catalogue's lexicon and its caption grammar.

A caption is made of three independent pieces, so that a benchmark can hand out one without the
others: the kind ("an armchair"), the shape ("with a tall winged back") and the attributes ("with a
brown leather seat and oak wood legs"). Everything here is text in, text out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SEEN_KINDS = (
    "chair",
    "armchair",
    "sofa",
    "stool",
    "bench",
    "table",
    "lamp",
    "vase",
    "bottle",
    "mug",
    "teapot",
    "bowl",
    "clock",
    "bookcase",
    "handbag",
    "car",
)
UNSEEN_KINDS = ("goblet", "cabinet", "sailboat", "candlestick")
KIND_NAMES = SEEN_KINDS + UNSEEN_KINDS

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "teal",
    "blue",
    "navy",
    "purple",
    "pink",
    "brown",
    "beige",
    "white",
    "grey",
    "black",
)
WOOD_TONES = ("oak", "walnut")
METAL_TONES = ("silver", "gold", "copper")
GLASS_TONES = ("clear",)
MATERIALS = (
    "wood",
    "fabric",
    "leather",
    "metal",
    "glass",
    "ceramic",
    "plastic",
    "marble",
    "wicker",
)
PATTERNS = ("plain", "striped", "checked", "dotted")

DOMAINS = ("photo", "watercolour", "pencil", "cartoon", "clay", "low-poly", "night", "blueprint")
UNNAMED_DOMAINS = ("x1", "x2")
DOMAINS_WITHOUT_COLOUR = ("pencil", "blueprint")

DOMAIN_PHRASES: dict[str, tuple[str, ...]] = {
    "photo": ("a photo of", "a studio photo of", "a picture of"),
    "watercolour": ("a watercolour of", "a watercolour painting of"),
    "pencil": ("a pencil drawing of", "a shaded pencil drawing of"),
    "cartoon": ("a cartoon of", "a cartoon picture of"),
    "clay": ("a clay model of", "a plasticine model of"),
    "low-poly": ("a low-poly rendering of", "a low-poly picture of"),
    "night": ("a night photo of", "a photo at night of"),
    "blueprint": ("a blueprint of", "a technical blueprint of"),
}
SKETCH_PHRASES = (
    "a freehand drawing of",
    "a rough sketch of",
    "a simple line drawing of",
    "a pen sketch of",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """What the grammar needs to know of one picture.

    `names` holds the kind's name first, then its synonyms. `shape` holds shape phrases without
    colour, material or kind. `finishes` pairs a part with its finish phrase, the most conspicuous
    part first.
    """

    names: tuple[str, ...]
    shape: tuple[str, ...] = ()
    finishes: tuple[tuple[str, str], ...] = ()


def finish_phrase(colour: str, material: str, pattern: str = "plain") -> str:
    """Return how a finish is said: "striped blue fabric", "oak wood", "clear glass".

    Raises:
        ValueError: A word is not in the lexicon, or a tone does not go with the material.
    """
    tones = {"wood": WOOD_TONES, "metal": METAL_TONES, "glass": GLASS_TONES}.get(material, ())
    if material not in MATERIALS:
        raise ValueError(f"`material` must be one of {', '.join(MATERIALS)}, got {material!r}.")
    if colour not in COLOURS and colour not in tones:
        raise ValueError(f"{material} has no colour {colour!r}. Choose one of `COLOURS`.")
    if pattern not in PATTERNS:
        raise ValueError(f"`pattern` must be one of {', '.join(PATTERNS)}, got {pattern!r}.")
    return f"{colour} {material}" if pattern == "plain" else f"{pattern} {colour} {material}"


def with_article(noun: str) -> str:
    """Put "a" or "an" before a singular noun phrase; a plural (ending in one s) stays bare."""
    if noun.endswith("s") and not noun.endswith(("ss", "glass")):
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def attribute_phrase(finishes: Sequence[tuple[str, str]]) -> str:
    """Say the finishes without kind and shape: "with a brown leather seat and oak legs"."""
    return "with " + _listed([with_article(f"{finish} {part}") for part, finish in finishes])


def shape_phrase(shape: Sequence[str]) -> str:
    """Say the shape without kind and finishes: "with a tall winged back and turned legs"."""
    return "with " + _listed(shape) if shape else ""


def caption(described: Described, domain: str = "photo") -> str:
    """Return the full caption: domain, kind, shape, attributes (none in media without colour).

    Raises:
        KeyError: The domain is not one that captions may name.
    """
    said = f"{DOMAIN_PHRASES[domain][0]} {with_article(described.names[0])}"
    if described.shape:
        said += f" {shape_phrase(described.shape)}"
    if described.finishes and domain not in DOMAINS_WITHOUT_COLOUR:
        said += f"{',' if described.shape else ''} {attribute_phrase(described.finishes)}"
    return said


def sketch_captions(described: Described) -> tuple[str, ...]:
    """Return captions of a drawing of the object: kind and shape, never colour or material."""
    shape = f" {shape_phrase(described.shape)}" if described.shape else ""
    return tuple(
        f"{phrase} {with_article(name)}{tail}"
        for phrase in SKETCH_PHRASES
        for name in described.names
        for tail in dict.fromkeys((shape, ""))
    )


def paraphrases(described: Described, domain: str = "photo") -> tuple[str, ...]:
    """Return other ways to say what `caption` says, some shorter, in a fixed order."""
    media = DOMAIN_PHRASES[domain]
    names = described.names
    said = [f"{medium} {with_article(name)}" for medium in media for name in names]
    if described.shape:
        said += [f"{with_article(name)} {shape_phrase(described.shape)}" for name in names]
        said += [f"{media[0]} {with_article(names[0])} with {words}" for words in described.shape]
    if described.finishes and domain not in DOMAINS_WITHOUT_COLOUR:
        said += _finish_paraphrases(described, media)
    return tuple(dict.fromkeys(said))


def _finish_paraphrases(described: Described, media: Sequence[str]) -> list[str]:
    finishes = described.finishes
    part, finish = finishes[0]
    said: list[str] = []
    for index, name in enumerate(described.names):
        medium = media[index % len(media)]
        said += [
            f"{medium} {with_article(name)} {attribute_phrase(finishes)}",
            f"{with_article(name)} {attribute_phrase(finishes)}",
            f"{with_article(name)} in {finish}",
            f"{with_article(f'{finish} {name}')}",
            f"{medium} {with_article(name)}, {part} in {finish}",
        ]
    first = with_article(described.names[0])
    said += [f"{media[0]} {first} {attribute_phrase([pair])}" for pair in finishes]
    if len(finishes) > 1:
        said.append(f"{first} {attribute_phrase(finishes[::-1])}")
    return said


def _listed(items: Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]
