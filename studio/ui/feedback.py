"""Feedback of a visitor on hits: more like this, less like that."""

from dataclasses import dataclass

from studio.errors import UsageError

MAX_MARKED = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """Ids of liked and unliked pictures; no picture is in both."""

    liked: tuple[str, ...] = ()
    unliked: tuple[str, ...] = ()

    def with_liked(self, picture_id: str) -> "Feedback":
        """Return the feedback with a picture liked.

        Raises:
            UsageError: There is too much feedback.
        """
        return _checked(
            Feedback(
                liked=_with(self.liked, picture_id), unliked=_without(self.unliked, picture_id)
            )
        )

    def with_unliked(self, picture_id: str) -> "Feedback":
        """Return the feedback with a picture unliked.

        Raises:
            UsageError: There is too much feedback.
        """
        return _checked(
            Feedback(
                liked=_without(self.liked, picture_id), unliked=_with(self.unliked, picture_id)
            )
        )

    def sign(self, picture_id: str) -> str:
        """Return the sign of a picture's feedback; empty without feedback."""
        return "+ " if picture_id in self.liked else "− " if picture_id in self.unliked else ""

    def summary(self) -> str:
        """Return the counts in words; empty without feedback."""
        counted = (("more like", len(self.liked)), ("less like", len(self.unliked)))
        return ", ".join(f"{what} {count}" for what, count in counted if count).capitalize()


NO_FEEDBACK = Feedback()


def _with(ids: tuple[str, ...], picture_id: str) -> tuple[str, ...]:
    return ids if picture_id in ids else (*ids, picture_id)


def _without(ids: tuple[str, ...], picture_id: str) -> tuple[str, ...]:
    return tuple(other for other in ids if other != picture_id)


def _checked(feedback: Feedback) -> Feedback:
    if len(feedback.liked) + len(feedback.unliked) > MAX_MARKED:
        raise UsageError(
            f"At most {MAX_MARKED} pictures can steer a search; clear the feedback first."
        )
    return feedback
