"""The catalogue's lexicon and its caption grammar.

A caption is made of three independent pieces, so that a benchmark can use one without the
others: the kind ("an armchair"), the shape ("with a tall winged back") and the attributes ("with a
brown leather seat and oak wood legs"). All functions map text to text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
UNNAMED_DOMAINS = ("x1", "x2")  # halftone and mosaic; no caption names them
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

FRONT_DEGREES, SIDE_DEGREES = 12.0, 60.0  # azimuths up to which, and from which, a word holds
LEVEL_DEGREES, ABOVE_DEGREES = 11.0, 22.0  # elevations, likewise
CLOSE_MARGIN, FAR_MARGIN = 0.085, 0.175


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectDescription:
    """The facts of one picture that the grammar states.

    `names` holds the kind's name first, then its synonyms. `shape` holds shape phrases without
    colour, material or kind. `finishes` pairs a part with its finish phrase, the most conspicuous
    part first.
    """

    names: tuple[str, ...]
    shape: tuple[str, ...] = ()
    finishes: tuple[tuple[str, str], ...] = ()


def finish_phrase(colour: str, material: str, pattern: str = "plain") -> str:
    """Return the phrase of a finish: "striped blue fabric", "oak wood", "clear glass".

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
    """Return the finishes without kind and shape: "with a brown leather seat and oak legs"."""
    return "with " + _listed([with_article(f"{finish} {part}") for part, finish in finishes])


def shape_phrase(shape: Sequence[str]) -> str:
    """Return the shape without kind and finishes: "with a tall winged back and turned legs"."""
    return "with " + _listed(shape) if shape else ""


def caption(described: ObjectDescription, domain: str = "photo") -> str:
    """Return the full caption: domain, kind, shape, attributes (none in media without colour).

    Raises:
        KeyError: The domain is not one that captions may name.
    """
    text = f"{DOMAIN_PHRASES[domain][0]} {with_article(described.names[0])}"
    if described.shape:
        text += f" {shape_phrase(described.shape)}"
    if described.finishes and domain not in DOMAINS_WITHOUT_COLOUR:
        text += f"{',' if described.shape else ''} {attribute_phrase(described.finishes)}"
    return text


def paraphrases(described: ObjectDescription, domain: str = "photo") -> tuple[str, ...]:
    """Return other wordings of `caption`, some shorter, in a fixed order."""
    media = DOMAIN_PHRASES[domain]
    names = described.names
    texts = [f"{medium} {with_article(name)}" for medium in media for name in names]
    if described.shape:
        texts += [f"{with_article(name)} {shape_phrase(described.shape)}" for name in names]
        texts += [f"{media[0]} {with_article(names[0])} with {words}" for words in described.shape]
    if described.finishes and domain not in DOMAINS_WITHOUT_COLOUR:
        texts += _finish_paraphrases(described, media)
    return tuple(dict.fromkeys(texts))


def view_phrase(azimuth: float, elevation: float) -> str:
    """Return where an object is seen from: "from the left and from above".

    Left and right are those of a viewer who stands before the object's front.

    Args:
        azimuth: Of the camera, in degrees from the front, positive towards the viewer's right.
        elevation: Of the camera, in degrees above the horizon.
    """
    side = "from the left" if azimuth < 0 else "from the right"
    if abs(azimuth) < FRONT_DEGREES:
        side = "from the front"
    elif abs(azimuth) >= SIDE_DEGREES:
        side += " side"
    if elevation < LEVEL_DEGREES:
        return f"{side} and at eye level"
    return f"{side} and from above" if elevation >= ABOVE_DEGREES else side


def framing_phrase(margin: float) -> str:
    """Return how large an object is in its picture; empty for the usual size.

    Args:
        margin: Share of the picture's side that stays free on each side of the object.
    """
    if margin < CLOSE_MARGIN:
        return "filling the frame"
    return "with space around it" if margin > FAR_MARGIN else ""


def view_captions(
    described: ObjectDescription, view: str, framing: str, domain: str = "photo"
) -> tuple[str, ...]:
    """Return captions that also say view and framing, the fullest first.

    Args:
        described: What the picture shows.
        view: The result of `view_phrase`.
        framing: The result of `framing_phrase`.
        domain: The medium.
    """
    seen = f"seen {view}, {framing}" if framing else f"seen {view}"
    names, unshaped = described.names, replace(described, shape=())
    other = f"{DOMAIN_PHRASES[domain][-1]} {with_article(names[-1])}"
    texts = [f"{text}, {seen}" for text in (caption(described, domain), caption(unshaped, domain))]
    texts += [f"{other}, {seen}", f"{with_article(names[0])} seen {view}"]
    return tuple(dict.fromkeys([*texts, f"{seen}: {caption(unshaped, domain)}"]))


def _finish_paraphrases(described: ObjectDescription, media: Sequence[str]) -> list[str]:
    finishes = described.finishes
    part, finish = finishes[0]
    texts: list[str] = []
    for index, name in enumerate(described.names):
        medium = media[index % len(media)]
        texts += [
            f"{medium} {with_article(name)} {attribute_phrase(finishes)}",
            f"{with_article(name)} {attribute_phrase(finishes)}",
            f"{with_article(name)} in {finish}",
            f"{with_article(f'{finish} {name}')}",
            f"{medium} {with_article(name)}, {part} in {finish}",
        ]
    first = with_article(described.names[0])
    texts += [f"{media[0]} {first} {attribute_phrase([pair])}" for pair in finishes]
    if len(finishes) > 1:
        texts.append(f"{first} {attribute_phrase(finishes[::-1])}")
    return texts


def _listed(items: Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]
