"""Settings of a picture that another program drew, as far as they mean something here."""

from dataclasses import dataclass

MAX_DROPPED = 40
_BRIEF_LENGTH = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignSettings:
    """Settings of a picture; untrusted, but of these types.

    Attributes:
        program: name of the program.
        text: the words.
        negative_text: what to stay away from.
        seed: any whole number; None where there is none, as for the other numbers.
        num_inference_steps: any whole number.
        guidance_scale: any number, "cfg" in other programs.
        width: pixels.
        height: pixels.
        dropped: settings without a counterpart here, "name: value", a line each.
    """

    program: str
    text: str = ""
    negative_text: str = ""
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    width: int | None = None
    height: int | None = None
    dropped: tuple[str, ...] = ()


def plain_text(value: str) -> str:
    """Return a text on one line, without controls and halves of surrogate pairs."""
    sound = value.encode("utf-8", "replace").decode()
    kept = (" " if letter.isspace() else letter for letter in sound)
    return "".join(letter for letter in kept if letter.isprintable()).strip()


def whole(value: object) -> int | None:
    """Return a whole number of any spelling; None for anything else."""
    number = real(value)
    if number is None or not number.is_integer():
        return None
    # Seeds have more digits than a float.
    return int(str(value)) if str(value).lstrip("-").isdecimal() else int(number)


def real(value: object) -> float | None:
    """Return a finite number of any spelling; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > _BRIEF_LENGTH:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def brief(name: str, value: object = "") -> str:
    """Return "name: value" on one line of bounded length, or the name alone."""
    parts = (_one_line(str(part)) for part in (name, value))
    return ": ".join(part for part in parts if part)


def few(lines: list[str]) -> tuple[str, ...]:
    """Return at most `MAX_DROPPED` lines, each once, and how many more there are."""
    distinct = list(dict.fromkeys(lines))
    if len(distinct) <= MAX_DROPPED:
        return tuple(distinct)
    return (*distinct[:MAX_DROPPED], f"{len(distinct) - MAX_DROPPED} further settings")


def _one_line(text: str) -> str:
    line = " ".join(text[: 4 * _BRIEF_LENGTH].split())
    return line if len(line) <= _BRIEF_LENGTH else f"{line[:_BRIEF_LENGTH]}..."
