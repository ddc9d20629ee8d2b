"""What the text tower learns by heart: texts, and the teacher's weighed answers to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.files import write_bytes
from composer.training.words.corpus import CorpusText, LessonSource
from composer.weights import read_safetensors, write_safetensors

# Texts of a step, by source.
STEP_SHARES = {
    LessonSource.NOUN: 120,
    LessonSource.PHRASE: 40,
    LessonSource.CAPTION: 24,
    LessonSource.GLOSS: 20,
    LessonSource.SCENE: 20,
    LessonSource.MEDIUM: 12,
    LessonSource.EXAMPLE: 8,
    LessonSource.WORD: 8,
    LessonSource.LACKING: 4,
}
Teacher = Callable[[Sequence[str]], Float[Tensor, "n d"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """Texts of all sources with the unit vectors they should get."""

    texts: tuple[str, ...]
    sources: tuple[LessonSource, ...]
    targets: Float[Tensor, "n d"]

    def save(self, folder: Path) -> None:
        """Write the texts, and the targets in half precision."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = (f"{s.value}\t{t}" for s, t in zip(self.sources, self.texts, strict=True))
        write_bytes(folder / "lessons.tsv", "\n".join(lines).encode())
        write_safetensors(folder / "lessons.safetensors", {"targets": self.targets.half()})

    @classmethod
    def load(cls, folder: Path) -> "Lessons":
        """Read what `save` wrote.

        Raises:
            WeightsError: The targets are missing or damaged.
        """
        tensors = read_safetensors(
            folder / "lessons.safetensors", {"targets": (None, None)}
        ).tensors
        lines = (folder / "lessons.tsv").read_text(encoding="utf-8").split("\n")
        pairs = [line.split("\t", 1) for line in lines]
        return cls(
            texts=tuple(text for _, text in pairs),
            sources=tuple(LessonSource(source) for source, _ in pairs),
            targets=tensors["targets"].float(),
        )


def ask_teacher(corpus: Sequence[CorpusText], teacher: Teacher) -> Lessons:
    """Answer every text: the direction of the weighed sum of the answers to its questions."""
    questions = list(dict.fromkeys(q for item in corpus for q, _ in item.questions))
    row = {question: index for index, question in enumerate(questions)}
    answers = teacher(questions)
    text_index = [i for i, item in enumerate(corpus) for _ in item.questions]
    rows = torch.tensor([row[q] for item in corpus for q, _ in item.questions])
    weights = torch.tensor([weight for item in corpus for _, weight in item.questions])
    sums = torch.zeros(len(corpus), answers.shape[1])
    sums.index_add_(0, torch.tensor(text_index), answers[rows] * weights[:, None])
    return Lessons(
        texts=tuple(item.text for item in corpus),
        sources=tuple(item.source for item in corpus),
        targets=functional.normalize(sums, dim=-1),
    )


class LessonOrder:
    """Which lessons a step has: each text of a source once before any comes again."""

    def __init__(self, lessons: Lessons, *, seed: int = 0, times: int = 1) -> None:
        """Take `times` as many texts of each source as `STEP_SHARES` says."""
        self._rows = {
            source: np.flatnonzero([s is source for s in lessons.sources])
            for source in LessonSource
        }
        self._counts = {s: times * n for s, n in STEP_SHARES.items() if len(self._rows[s])}
        self._seed = seed
        self._orders: dict[tuple[LessonSource, int], np.ndarray] = {}

    def rows(self, step: int) -> list[int]:
        """Return the rows of a step; a function of the seed and the step."""
        chosen: list[int] = []
        for source, count in self._counts.items():
            for place in range(step * count, (step + 1) * count):
                turn, index = divmod(place, len(self._rows[source]))
                chosen.append(int(self._order(source, turn)[index]))
        return chosen

    def _order(self, source: LessonSource, turn: int) -> np.ndarray:
        if (source, turn) not in self._orders:
            for old in [key for key in self._orders if key[0] is source and key[1] < turn - 1]:
                del self._orders[old]
            number = list(LessonSource).index(source)
            rng = np.random.default_rng([self._seed, number, turn])
            self._orders[source, turn] = rng.permutation(self._rows[source])
        return self._orders[source, turn]
