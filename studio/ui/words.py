"""How words that are strange to the kit are named on the page."""

MAX_NAMED = 3


def strange_line(words: tuple[str, ...]) -> str:
    """Say them in a sentence; nothing where there are none."""
    if not words:
        return ""
    named = ", ".join(f"“{word}”" for word in words[:MAX_NAMED])
    more = f" and {len(words) - MAX_NAMED} more" if len(words) > MAX_NAMED else ""
    verb = "is" if len(words) == 1 else "are"
    return f"{named}{more} {verb} strange to this kit, so it may guess."
