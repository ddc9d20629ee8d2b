"""Which words of a query are strange to the kit."""

import re

from composer.backbone import Backbone

MAX_NAMED = 3
_WORD = re.compile(r"[^\W\d_]{2,}")


def strange_words(backbone: Backbone, text: str) -> tuple[str, ...]:
    """Return the words that the kit's vocabulary does not hold whole, in order, each once."""
    found: dict[str, None] = {}
    for word in _WORD.findall(text.lower()):
        if sum(len(ids) for ids in backbone.word_ids(word)) > 1:
            found[word] = None
    return tuple(found)


def strange_line(words: tuple[str, ...]) -> str:
    """Say them in a sentence; nothing where there are none."""
    if not words:
        return ""
    named = ", ".join(f"“{word}”" for word in words[:MAX_NAMED])
    more = f" and {len(words) - MAX_NAMED} more" if len(words) > MAX_NAMED else ""
    verb = "is" if len(words) == 1 else "are"
    return f"{named}{more} {verb} strange to this kit, so it may guess."
