"""Trains the text tower: the teacher's answers on many texts, pictures with those that have them.

Source: Hinton et al. 2015 for learning from a teacher's soft answers, here the softmax of its
cosines between the texts of a batch; SupCon (Khosla et al. 2020) for texts with pictures.
"""

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from open_clip import SimpleTokenizer
from torch import Tensor
from torch.nn import functional

from composer.training.loop import Average, fast_precision, learning_rate_factor
from composer.training.state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)
from composer.training.words.concepts import Concepts
from composer.training.words.contrast import ContrastLoss, Draw, Drawer, LossWeights
from composer.training.words.lessons import LessonOrder, Lessons
from composer.training.words.tower import TextTower, tokenize

AVERAGE = "average."
MAX_SCALE = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DistilRecipe:
    """How the tower is trained.

    Attributes:
        num_steps: Steps of about 256 lessons each, times `times`.
        pictures_every: Every so many steps texts with pictures come along.
        pictures_weight: Weight of their loss.
        cosine_weight: Weight of the distance to the teacher's answer.
        relation_scale: Factor of the cosines between the texts of a batch.
        decay: Of the average of the weights, which is what is kept.
        seed: Of the weights and of all that is drawn.
    """

    num_steps: int = 2400
    times: int = 1
    pictures_every: int = 3
    pictures_weight: float = 0.3
    cosine_weight: float = 10.0
    relation_scale: float = 20.0
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    decay: float = 0.995
    save_every: int = 100
    log_every: int = 25
    seed: int = 0


class Distiller:
    """The run: tower, optimizer, step; saves and resumes."""

    def __init__(
        self,
        tower: TextTower,
        tokens: "LessonTokens",
        concepts: Concepts,
        recipe: DistilRecipe,
        state: Path,
    ) -> None:
        """Takes a tower to train, or resumes what the folder `state` holds."""
        self.tower, self.recipe, self._state = tower.train().requires_grad_(True), recipe, state
        self._tokens, self._concepts = tokens, concepts
        self._order = LessonOrder(tokens.lessons, seed=recipe.seed, times=recipe.times)
        self._drawer = Drawer(concepts, times=recipe.times)
        self._contrast = ContrastLoss(concepts)
        self._names: dict[Tensor, str] = {p: n for n, p in tower.named_parameters()}
        self._optimizer = torch.optim.AdamW(self._groups(), lr=1e-3, betas=(0.9, 0.98), fused=True)
        self._average = Average(dict(tower.named_parameters()), recipe.decay)
        self._is_bf16 = fast_precision(torch.device("cpu")) == "bf16"
        self.step = 0
        self._resume()

    def _groups(self) -> list[dict[str, object]]:
        matrices = [p for p in self._names if p.ndim > 1]
        others = [p for p in self._names if p.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    def _resume(self) -> None:
        state = load_state(self._state)
        if state is None:
            return
        weights = {n: state.tensors[n] for n in self.tower.state_dict()}
        self.tower.load_state_dict(weights)
        for name, tensor in self._average.tensors.items():
            tensor.copy_(state.tensors[AVERAGE + name])
        restore_optimizer(self._optimizer, self._names, state.tensors)
        self.step = int(state.counters["step"])

    def run(self) -> TextTower:
        """Trains to the last step and returns a tower with the averaged weights."""
        started, first = time.monotonic(), self.step
        while self.step < self.recipe.num_steps:
            loss, cosine = self._train_step()
            self._average.update(dict(self.tower.named_parameters()), self.step)
            self.step += 1
            if self.step % self.recipe.log_every == 0:
                rate = (time.monotonic() - started) / (self.step - first)
                left = rate * (self.recipe.num_steps - self.step) / 60
                print(  # noqa: T201  the run's log
                    f"words step {self.step}/{self.recipe.num_steps} loss {loss:.3f} cosine to "
                    f"the teacher {cosine:.3f} {rate:.2f} s a step {left:.0f} min left",
                    flush=True,
                )
            if self.step % self.recipe.save_every == 0 or self.step == self.recipe.num_steps:
                self._save()
        return self.averaged()

    def averaged(self) -> TextTower:
        """Returns a frozen copy with the averaged weights."""
        tower = deepcopy(self.tower)
        tower.load_state_dict({**self.tower.state_dict(), **self._average.tensors})
        return tower.eval().requires_grad_(False)

    def _train_step(self) -> tuple[float, float]:
        recipe = self.recipe
        rate = recipe.learning_rate * learning_rate_factor(self.step / recipe.num_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        rows = self._order.rows(self.step)
        targets = self._tokens.lessons.targets[rows]
        draws = self._draws()
        ids = torch.cat([self._tokens.lesson_ids[rows], self._tokens.ids([d.text for d in draws])])
        with torch.autocast("cpu", torch.bfloat16, enabled=self._is_bf16):
            features = self.tower(ids.long())
        answers = features[: len(rows)]
        cosine = (answers * targets).sum(1).mean()
        loss = recipe.cosine_weight * (1 - cosine)
        loss = loss + relation_loss(answers, targets, recipe.relation_scale)
        if draws:
            scale = self.tower.log_scale.exp().clamp(max=MAX_SCALE)
            weights = LossWeights(contrast=1.0, regression=10.0)
            told = self._contrast(features[len(rows) :], draws, scale, weights)
            loss = loss + recipe.pictures_weight * told
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        self._optimizer.step()
        return float(loss.detach()), float(cosine.detach())

    def _draws(self) -> list[Draw]:
        if self.step % self.recipe.pictures_every:
            return []
        return self._drawer.draw(np.random.default_rng([self.recipe.seed, self.step]))

    def _save(self) -> None:
        tensors = dict(self.tower.state_dict())
        tensors |= optimizer_tensors(self._optimizer, self._names)
        tensors |= {AVERAGE + name: tensor for name, tensor in self._average.tensors.items()}
        counters = {"step": self.step, "recipe": asdict(self.recipe)}
        save_state(self._state, TrainingState(tensors=tensors, counters=counters))


class LessonTokens:
    """Lessons and the texts of pictures as token ids."""

    def __init__(self, tokenizer: SimpleTokenizer, lessons: Lessons, texts: Sequence[str]) -> None:
        """Tokenizes everything once."""
        self.lessons = lessons
        self.lesson_ids = tokenize(tokenizer, lessons.texts)
        distinct = list(dict.fromkeys(texts))
        self._row = {text: index for index, text in enumerate(distinct)}
        self._ids = tokenize(tokenizer, distinct)

    def ids(self, texts: Sequence[str]) -> Int[Tensor, "n l"]:
        """Returns the ids of texts of pictures."""
        return self._ids[[self._row[text] for text in texts]]


def relation_loss(
    answers: Float[Tensor, "n d"], targets: Float[Tensor, "n d"], scale: float
) -> Float[Tensor, ""]:
    """Cross entropy between the teacher's and the tower's view of a batch.

    Each text is compared with the teacher's answers to all of them; the teacher's own comparison is
    what is wanted.
    """
    wanted = (scale * targets @ targets.T).softmax(1)
    return functional.cross_entropy(scale * answers @ targets.T, wanted)
