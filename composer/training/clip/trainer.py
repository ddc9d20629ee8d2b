"""The training run of the mini CLIP: contrastive, multi-positive, first on small pictures.

Source: CLIP (Radford et al. 2021) for the objective; SupCon (Khosla et al. 2020) for several
positives a row: captions repeat in these data, so every caption of the batch that is true of a
picture counts as a positive. SuperClass (Huang et al. 2024) for naming the captions' words from the
picture alone, which trains the vision tower while the text tower is still untrained.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from open_clip.transformer import PatchDropout
from torch import Tensor
from torch.nn import functional

from composer.clip_files import MERGES_NAME, load_tokenizer
from composer.data.pictures import CaptionIds, PictureTable
from composer.training.bpe import train_merges, write_merges
from composer.training.clip.batches import ClipBatch, ClipBatches
from composer.training.clip.model import (
    CONTEXT,
    VOCAB_SIZE,
    build_mini_clip,
    build_word_head,
    encode_pixels,
    encode_text,
    export_clip,
)
from composer.training.clip.recipe import ClipTraining, Phase, step_of
from composer.training.descent import Descent, DescentSettings, ParameterGroup, TrainingError
from composer.training.loop import Budget, fast_precision, progress_line
from composer.training.state import load_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPaths:
    """Where a run writes: the CLIP folder, and the state it resumes from."""

    out: Path
    state: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipLosses:
    """The losses of one step.

    Attributes:
        pairs: Of pictures and captions; zero in a phase that is not contrastive.
        words: Of naming the captions' words.
        accuracy: Share of the pictures whose nearest caption in the batch is true; NaN without.
    """

    pairs: Tensor
    words: Tensor
    accuracy: float


class ClipTrainer:
    """A run: model, batches, steps; it saves, resumes and exports."""

    def __init__(
        self, recipe: ClipTraining, tables: Sequence[PictureTable], paths: ClipPaths, device: str
    ) -> None:
        """Build, or resume what `paths.state` holds; `paths.out` holds `merges.txt`.

        Raises:
            TrainingError: The state belongs to another shape of model.
        """
        self.recipe, self.paths, self.device = recipe, paths, device
        tokenizer = load_tokenizer(paths.out, CONTEXT)
        self.batches = ClipBatches(tables, tokenizer, recipe)
        self.model = build_mini_clip(tokenizer.vocab_size, recipe).to(device).train()
        self._words = build_word_head(recipe, self.batches.num_words).to(device)
        modules = torch.nn.ModuleDict({"clip": self.model, "words": self._words})
        named: dict[str, Tensor] = dict(modules.named_parameters())
        self._descent = Descent(named, self._groups(named), DescentSettings(is_fused=True))
        if (state := load_state(paths.state)) is not None:
            self._descent.restore(state, paths.state)

    @property
    def step(self) -> int:
        """Steps so far, over all resumed runs."""
        return self._descent.num_steps

    def run(self) -> None:
        """Train to the last step, logging and saving; a resumed run ends with the same weights.

        Raises:
            TrainingError: A loss is not finite; the last saved state stays as it is.
        """
        recipe, budget = self.recipe, Budget(num_steps=self.recipe.num_steps)
        while self.step < recipe.num_steps:
            losses = self.train_step()
            if self.step % recipe.log_every == 0:
                elapsed_s = self._descent.watch.elapsed_s
                parts = (
                    f"loss {float(losses.pairs):.3f} words {float(losses.words):.3f} in-batch "
                    f"{losses.accuracy:.3f} {recipe.batch_size * self.step / elapsed_s:.0f} pairs/s"
                )
                logger.info("%s", progress_line("clip", self.step, budget, elapsed_s, parts))
            if self.step % recipe.save_every == 0 or self.step == recipe.num_steps:
                self.save()

    def train_step(self) -> ClipLosses:
        """Make one step.

        Raises:
            TrainingError: The loss is not finite.
        """
        step = self.step
        at = step_of(self.recipe, step)
        dropout = self.model.visual.patch_dropout
        assert isinstance(dropout, PatchDropout)
        dropout.prob = at.phase.patch_dropout
        torch.manual_seed(self.recipe.seed * 1_000_003 + step)  # which patches are dropped
        losses = self._losses(self.batches.draw(step, at.phase).to(self.device), at.phase)
        total = losses.pairs + at.phase.word_weight * losses.words
        if not bool(torch.isfinite(total)):
            raise TrainingError(
                f"The loss of clip is not finite at step {step}; lower the learning rate and run "
                "the command again to continue from the last state."
            )
        self._descent.step(total, at.rate_factor)
        return replace(losses, pairs=losses.pairs.detach(), words=losses.words.detach())

    def save(self) -> None:
        """Write the resumable state, atomically."""
        self._descent.save(self.paths.state, recipe=asdict(self.recipe))

    def export(self) -> None:
        """Write the open_clip folder: config and fp16 weights."""
        export_clip(self.model, self.recipe, self.paths.out)

    def _losses(self, batch: ClipBatch, phase: Phase) -> ClipLosses:
        is_fast = fast_precision(torch.device(self.device)) == "bf16"
        with torch.autocast(self.device, torch.bfloat16, enabled=is_fast):
            pooled, image = encode_pixels(self.model, batch.pixels)
            text = encode_text(self.model, batch.ids) if phase.is_contrastive else None
            scores = self._words(pooled)
        words = word_loss(scores.float(), batch.words)
        if text is None:
            return ClipLosses(pairs=torch.zeros(()), words=words, accuracy=math.nan)
        scale = self.model.logit_scale.exp().clamp(max=100)
        pairs = contrastive_loss(image.float(), text.float(), batch.truth, scale)
        accuracy = _share_right(image, text, batch.truth)
        return ClipLosses(pairs=pairs, words=words, accuracy=accuracy)

    def _groups(self, named: Mapping[str, Tensor]) -> list[ParameterGroup]:
        """Return two groups: matrices and kernels, which decay, and vectors."""
        matrices = [p for p in named.values() if p.ndim > 1]
        vectors = [p for p in named.values() if p.ndim <= 1]
        rate, decay = self.recipe.learning_rate, self.recipe.weight_decay
        return [
            ParameterGroup(parameters=matrices, rate=rate, weight_decay=decay),
            ParameterGroup(parameters=vectors, rate=rate),
        ]


def contrastive_loss(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "t d"],
    truth: Bool[Tensor, "b t"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Return the symmetric cross entropy against uniform targets over the true pairs."""
    logits = scale * image @ text.T
    rows = truth.float()
    to_text = -(functional.log_softmax(logits, 1) * rows / rows.sum(1, keepdim=True)).sum(1)
    to_image = -(functional.log_softmax(logits, 0) * rows / rows.sum(0, keepdim=True)).sum(0)
    return (to_text.mean() + to_image.mean()) / 2


def word_loss(scores: Float[Tensor, "b w"], words: Float[Tensor, "b w"]) -> Float[Tensor, ""]:
    """Return the cross entropy of the words' scores against their shares."""
    return -(words * scores.log_softmax(1)).sum(1).mean()


@torch.no_grad()
def _share_right(
    image: Float[Tensor, "b d"], text: Float[Tensor, "t d"], truth: Bool[Tensor, "b t"]
) -> float:
    """Return the share of pictures whose nearest caption is true of them."""
    nearest = (image @ text.T).argmax(1, keepdim=True)
    return float(truth.gather(1, nearest).float().mean())


def learn_vocabulary(tables: Sequence[PictureTable], folder: Path) -> None:
    """Write `merges.txt` from the captions, each distinct one counted four times."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = CaptionIds(tables).texts
    write_merges(train_merges(texts * 4, vocab_size=VOCAB_SIZE), folder / MERGES_NAME)


def train_clip(
    recipe: ClipTraining, tables: Sequence[PictureTable], paths: ClipPaths, device: str = "cpu"
) -> None:
    """Learn the vocabulary if there is none, train or resume, export."""
    if not (paths.out / MERGES_NAME).exists():
        learn_vocabulary(tables, paths.out)
    trainer = ClipTrainer(recipe, tables, paths, device)
    trainer.run()
    trainer.export()
