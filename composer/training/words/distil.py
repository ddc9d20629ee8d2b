"""Training of the text tower: the teacher's answers to many texts, and the pictures of some.

Source: Hinton et al. 2015 for learning from a teacher's soft answers, here the softmax of its
cosines between the texts of a batch; SupCon (Khosla et al. 2020) for texts with pictures.
"""

import logging
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

from composer.training.descent import Descent, DescentSettings, ParameterGroup
from composer.training.loop import Budget, fast_precision, progress_line
from composer.training.schedules import warmup_hold_cosine
from composer.training.state import load_state
from composer.training.words.concepts import Concepts
from composer.training.words.contrast import ContrastLoss, Draw, Drawer, LossWeights
from composer.training.words.lessons import LessonOrder, Lessons
from composer.training.words.tower import TextTower, tokenize

log = logging.getLogger(__name__)
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
        num_warmup_steps: Steps over which the rate rises.
        decay_share: Last share of the run, over which it falls; a longer run can start from the
            state of a shorter one that has not come so far.
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
    num_warmup_steps: int = 60
    decay_share: float = 0.4
    decay: float = 0.99
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
        """Take a tower to train where it is, or resume what the folder `state` holds.

        Losses are computed on the CPU: the tower is all that costs.
        """
        self.tower, self.recipe, self._state = tower.train().requires_grad_(True), recipe, state
        self._device = next(tower.parameters()).device
        self._tokens, self._concepts = tokens, concepts
        self._order = LessonOrder(tokens.lessons, seed=recipe.seed, times=recipe.times)
        self._drawer = Drawer(concepts, times=recipe.times)
        self._contrast = ContrastLoss(concepts)
        self._descent = Descent(
            dict(tower.named_parameters()),
            _groups(tower, recipe),
            DescentSettings(average_decay=recipe.decay, is_fused=True),
        )
        self._is_bf16 = fast_precision(self._device) == "bf16"
        saved = load_state(state)
        if saved is not None:
            self._descent.restore(saved, state)

    @property
    def step(self) -> int:
        """How many steps were done, over all resumed runs."""
        return self._descent.num_steps

    def run(self) -> TextTower:
        """Train to the last step and return a tower with the averaged weights."""
        budget = Budget(num_steps=self.recipe.num_steps)
        while self.step < self.recipe.num_steps:
            loss, cosine = self._train_step()
            if self.step % self.recipe.log_every == 0:
                parts = f"loss {loss:.3f} cosine to the teacher {cosine:.3f}"
                elapsed_s = self._descent.watch.elapsed_s
                log.info("%s", progress_line("words", self.step, budget, elapsed_s, parts))
            if self.step % self.recipe.save_every == 0 or self.step == self.recipe.num_steps:
                self._descent.save(self._state, recipe=asdict(self.recipe))
        return self.averaged()

    def averaged(self) -> TextTower:
        """Return a frozen copy with the averaged weights, on the CPU."""
        tower = deepcopy(self.tower).cpu()
        average = self._descent.average
        assert average is not None
        tower.load_state_dict({**self.tower.state_dict(), **average.tensors})
        return tower.eval().requires_grad_(False)

    def _train_step(self) -> tuple[float, float]:
        recipe = self.recipe
        rows = self._order.rows(self.step)
        targets = self._tokens.lessons.targets[rows]
        draws = self._draws()
        ids = torch.cat([self._tokens.lesson_ids[rows], self._tokens.ids([d.text for d in draws])])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_bf16):
            features = self.tower(ids.long().to(self._device)).cpu()
        answers = features[: len(rows)]
        cosine = (answers * targets).sum(1).mean()
        loss = recipe.cosine_weight * (1 - cosine)
        loss = loss + relation_loss(answers, targets, recipe.relation_scale)
        if draws:
            scale = self.tower.log_scale.exp().clamp(max=MAX_SCALE).cpu()
            weights = LossWeights(contrast=1.0, regression=10.0)
            from_pictures = self._contrast(features[len(rows) :], draws, scale, weights)
            loss = loss + recipe.pictures_weight * from_pictures
        factor = warmup_hold_cosine(
            self.step,
            self.step / recipe.num_steps,
            num_warmup_steps=recipe.num_warmup_steps,
            decay_share=recipe.decay_share,
        )
        self._descent.step(loss, factor)
        return float(loss.detach()), float(cosine.detach())

    def _draws(self) -> list[Draw]:
        if self.step % self.recipe.pictures_every:
            return []
        return self._drawer.draw(np.random.default_rng([self.recipe.seed, self.step]))


def _groups(tower: TextTower, recipe: DistilRecipe) -> list[ParameterGroup]:
    matrices = [p for p in tower.parameters() if p.ndim > 1]
    others = [p for p in tower.parameters() if p.ndim <= 1]
    decay, rate = recipe.weight_decay, recipe.learning_rate
    return [
        ParameterGroup(parameters=matrices, rate=rate, weight_decay=decay),
        ParameterGroup(parameters=others, rate=rate),
    ]


class LessonTokens:
    """Lessons and the texts of pictures as token ids."""

    def __init__(self, tokenizer: SimpleTokenizer, lessons: Lessons, texts: Sequence[str]) -> None:
        """Tokenise everything once."""
        self.lessons = lessons
        self.lesson_ids = tokenize(tokenizer, lessons.texts)
        distinct = list(dict.fromkeys(texts))
        self._row = {text: index for index, text in enumerate(distinct)}
        self._ids = tokenize(tokenizer, distinct)

    def ids(self, texts: Sequence[str]) -> Int[Tensor, "n l"]:
        """Return the ids of texts of pictures."""
        return self._ids[[self._row[text] for text in texts]]


@torch.no_grad()
def turn_towards(tower: TextTower, ids: Int[Tensor, "n l"], targets: Float[Tensor, "n d"]) -> float:
    """Turn a trained tower's projection towards the answers of another space.

    The least squares map from what the tower says to what it should say goes into its projection,
    so that only little is left to learn. Returns the mean cosine that is reached.

    Args:
        tower: Trained on another space of the same dimensions.
        ids: Token ids of some thousands of lessons.
        targets: Their answers in the space it shall have.
    """
    answers = torch.cat([tower(part.long()) for part in ids.split(256)])
    turn = torch.linalg.lstsq(answers, targets).solution
    tower.transformer.text_projection.copy_(tower.transformer.text_projection @ turn)
    return float(functional.cosine_similarity(answers @ turn, targets).mean())


def relation_loss(
    answers: Float[Tensor, "n d"], targets: Float[Tensor, "n d"], scale: float
) -> Float[Tensor, ""]:
    """Return the cross entropy between the teacher's and the tower's view of a batch.

    Each text is compared with the teacher's answers to all of them; the teacher's own comparison is
    what is wanted.
    """
    wanted = (scale * targets @ targets.T).softmax(1)
    return functional.cross_entropy(scale * answers @ targets.T, wanted)
