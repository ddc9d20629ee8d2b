"""Texts of a scene: the position of its main object, and the full caption."""

from collections.abc import Sequence

from assets.catalogue.model import Finish
from assets.catalogue.words import with_article

SAID_MATERIALS = ("glass", "leather", "marble", "wicker")  # the others go without saying


def thing_phrase(kind_name: str, finish: Finish) -> str:
    """Return a thing by its look: "a blue vase", "an oak table", "a striped navy sofa"."""
    pattern = [] if finish.pattern == "plain" else [finish.pattern]
    material = [finish.material] if finish.material in SAID_MATERIALS else []
    return with_article(" ".join([*pattern, finish.colour, *material, kind_name]))


def relation_phrase(relation: str, neighbour: str) -> str:
    """Return where the main object stands, without naming it: "behind an oak table"."""
    return f"{relation} {neighbour}"


def scene_caption(main: str, relation_words: str, bystanders: Sequence[str]) -> str:
    """Return the full caption; bystanders are named by kind alone.

    Args:
        main: The main object's phrase: "a red armchair".
        relation_words: Where it stands: "to the left of a blue vase".
        bystanders: Kinds of the other things, none to two.
    """
    text = f"{main} {relation_words}"
    if bystanders:
        text += f", with {' and '.join(with_article(kind) for kind in bystanders)} nearby"
    return text
