"""More like this, less like that: what a visitor said of hits, as it travels with the visit."""

from dataclasses import dataclass

from studio.errors import UsageError

MAX_MARKED = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """Ids of pictures that the visitor wants more or less like; no picture is in both."""

    liked: tuple[str, ...] = ()
    unliked: tuple[str, ...] = ()

    def liking(self, one: str) -> "Feedback":
        """Want more like a picture.

        Raises:
            UsageError: There are too many already.
        """
        return _checked(Feedback(liked=_with(self.liked, one), unliked=_without(self.unliked, one)))

    def unliking(self, one: str) -> "Feedback":
        """Want less like a picture.

        Raises:
            UsageError: There are too many already.
        """
        return _checked(Feedback(liked=_without(self.liked, one), unliked=_with(self.unliked, one)))

    def sign(self, one: str) -> str:
        """What was said of a picture, as a sign before its name."""
        return "+ " if one in self.liked else "− " if one in self.unliked else ""

    def line(self) -> str:
        """Say it in a line; empty where nothing was said."""
        counted = (("more like", len(self.liked)), ("less like", len(self.unliked)))
        return ", ".join(f"{what} {count}" for what, count in counted if count).capitalize()


NO_FEEDBACK = Feedback()


def _with(ids: tuple[str, ...], one: str) -> tuple[str, ...]:
    return ids if one in ids else (*ids, one)


def _without(ids: tuple[str, ...], one: str) -> tuple[str, ...]:
    return tuple(other for other in ids if other != one)


def _checked(feedback: Feedback) -> Feedback:
    if len(feedback.liked) + len(feedback.unliked) > MAX_MARKED:
        raise UsageError(f"At most {MAX_MARKED} pictures can steer a search; forget them first.")
    return feedback
