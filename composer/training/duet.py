"""Training of the duet composer on the catalogue's pack."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.data.duet_batches import (
    DuetBatch,
    DuetBatches,
    Mixture,
    encode_drawings,
    encode_gallery,
    validation_queries,
)
from composer.strategies.duet import DuetModel
from composer.training.duet_objective import (
    DuetMargins,
    DuetWeights,
    PhraseBank,
    duet_terms,
    encode_batch,
    weighted_sum,
)
from composer.training.duet_validation import DuetScores, validate
from composer.training.loop import (
    Average,
    Budget,
    EarlyStopping,
    Stopwatch,
    fast_precision,
    learning_rate_factor,
    progress_line,
)
from composer.training.state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DuetTraining:
    """The recipe of one run.

    Attributes:
        clip: Folder of the frozen CLIP.
        data: Folder of the training pack.
        output: Where `duet.safetensors` goes; rewritten at every best validation score.
        state: Folder of the resumable state.
        budget: Steps or minutes.
        device: "cpu", "cuda" or "auto".
        batch_size: References, all of different designs.
        num_cached_steps: Steps at the beginning that see references through the frozen tower,
            encoded once, and so train converter and prompt alone: many times cheaper.
        cached_batch_size: References in each of these.
        num_drawings: Times that each sketch is augmented and encoded for them.
        norm_rate: Learning rate of the LayerNorms.
        head_rate: Learning rate of converter and prompt.
        weight_decay: On the converter's matrices only.
        average_decay: Of the moving average that is validated and saved; 0 for none.
        clip_norm: Largest norm of the gradient.
        validate_every: Steps between validations, each also saving the state.
        patience: Validations without a better score before the run stops.
        log_every: Steps between log lines.
        seed: Of every draw.
        auxiliary_share: Share of a batch that the three auxiliary prompts are read for.
        weights: Of the losses.
        margins: Of the losses.
        mixture: What batches are made of.
    """

    clip: Path
    data: Path
    output: Path
    state: Path
    budget: Budget = field(default_factory=lambda: Budget(minutes=20))
    device: str = "auto"
    batch_size: int = 64
    num_cached_steps: int = 3000
    cached_batch_size: int = 256
    num_drawings: int = 5
    norm_rate: float = 2e-3
    head_rate: float = 1.5e-3
    weight_decay: float = 0.02
    average_decay: float = 0.995
    clip_norm: float = 1.0
    validate_every: int = 100
    patience: int = 8
    log_every: int = 20
    seed: int = 0
    auxiliary_share: float = 0.25
    weights: DuetWeights = field(default_factory=DuetWeights)
    margins: DuetMargins = field(default_factory=DuetMargins)
    mixture: Mixture = field(default_factory=Mixture)


class DuetTrainer:
    """A run: model, optimizer, average, step. It resumes where its state folder left off.

    Frozen photo features of the whole training gallery are encoded once and serve as negatives of
    every step, which a memory bank could only approximate: the gallery's tower never changes.
    """

    def __init__(self, config: DuetTraining) -> None:
        """Loads backbone and data, encodes the galleries, resumes.

        Raises:
            ValueError: The backbone or the pack cannot be used.
        """
        self.config = config
        device = _device(config.device)
        self._accelerator = Accelerator(
            cpu=device.type == "cpu", mixed_precision=fast_precision(device)
        )
        torch.manual_seed(config.seed)
        self._backbone = Backbone.load(config.clip, device=self._accelerator.device)
        self._pack = CataloguePack.open(config.data)
        with self._accelerator.autocast():
            self._gallery = encode_gallery(
                self._pack, self._pack.rows(split="train"), self._backbone
            )
        held = self._pack.rows(split="validation", domain=PHOTO)
        self._held_gallery = encode_gallery(self._pack, held, self._backbone)
        self._queries = validation_queries(self._pack, held, self._backbone.image_size_px)
        self._batches = DuetBatches(
            self._pack, self._gallery, self._backbone, seed=config.seed, mixture=config.mixture
        )
        self.model = DuetModel(self._backbone)
        self._names = {p: name for name, p in self.model.trainable_state().items()}
        self._optimizer = torch.optim.AdamW(self._parameter_groups(), betas=(0.9, 0.98))
        self._prepared = self._accelerator.prepare_optimizer(self._optimizer)
        self._bank = PhraseBank(self._backbone)
        self._average = Average(self.model.trainable_state(), config.average_decay)
        self._stopping = EarlyStopping(patience=config.patience)
        self.step = 0
        self._drawings: dict[str, Tensor] | None = None
        self._watch = Stopwatch()
        self._resume()

    def run(self) -> DuetScores:
        """Trains to the end of the budget or of patience; returns the last validation."""
        config = self.config
        scores = self.validate()
        logger.info("duet before step %d: %s", self.step, scores.summary())
        while not self._is_done():
            terms = self.train_step()
            if self.step % config.log_every == 0:
                parts = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
                elapsed = self._watch.elapsed_s
                logger.info("%s", progress_line("duet", self.step, config.budget, elapsed, parts))
            if self.step % config.validate_every == 0 or self._is_done():
                scores = self._check()
        return scores

    def train_step(self) -> dict[str, float]:
        """One step; returns the unweighted losses."""
        config = self.config
        progress = config.budget.progress(self.step, self._watch.elapsed_s)
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_rate"] * learning_rate_factor(progress)
        batch = self._draw()
        rng = np.random.default_rng([config.seed, self.step, 1])
        with self._accelerator.autocast():
            features = encode_batch(
                self.model, batch, self._gallery, self._bank, rng, config.auxiliary_share
            )
        terms = duet_terms(features, batch, self._gallery, config.margins)
        self._prepared.zero_grad(set_to_none=True)
        self._accelerator.backward(weighted_sum(terms, config.weights))
        self._accelerator.clip_grad_norm_(list(self._names), config.clip_norm)
        self._prepared.step()
        self._average.update(self.model.trainable_state(), self.step)
        self.step += 1
        return {name: float(value.detach()) for name, value in terms.items()}

    def _draw(self) -> DuetBatch:
        """The batch of the step: of features while these serve, then of pixels."""
        config = self.config
        if self.step >= config.num_cached_steps:
            self._drawings = None
            return self._batches.draw(self.step, config.batch_size)
        if self._drawings is None:
            with self._accelerator.autocast():
                self._drawings = encode_drawings(
                    self._pack,
                    self._batches.designs,
                    self._backbone,
                    count=config.num_drawings,
                    seed=config.seed,
                )
        return self._batches.draw(self.step, config.cached_batch_size, self._drawings)

    def validate(self) -> DuetScores:
        """Scores the averaged weights on the validation split, in full precision."""
        own = {name: p.detach().clone() for name, p in self.model.trainable_state().items()}
        self.model.load_trainable_state(self._average.tensors)
        try:
            return validate(self.model, self._queries, self._held_gallery)
        finally:
            self.model.load_trainable_state(own)

    def save(self) -> None:
        """Writes the resumable state, atomically."""
        tensors = {f"model.{name}": p for name, p in self.model.trainable_state().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self._average.tensors.items()}
        tensors |= optimizer_tensors(self._optimizer, self._names)
        counters = {
            "step": self.step,
            "elapsed_s": self._watch.elapsed_s,
            "best": self._stopping.best,
            "num_stale": self._stopping.num_stale,
            "gallery_hash": self._backbone.gallery_hash,
        }
        self.config.state.parent.mkdir(parents=True, exist_ok=True)
        save_state(self.config.state, TrainingState(tensors=tensors, counters=counters))

    def _check(self) -> DuetScores:
        scores = self.validate()
        is_best = self._stopping.is_best(scores.score)
        mark = " (best)" if is_best else ""
        logger.info("duet validation at step %d: %s%s", self.step, scores.summary(), mark)
        if is_best:
            self._export(scores)
        self.save()
        return scores

    def _export(self, scores: DuetScores) -> None:
        own = {name: p.detach().clone() for name, p in self.model.trainable_state().items()}
        self.model.load_trainable_state(self._average.tensors)
        self.config.output.parent.mkdir(parents=True, exist_ok=True)
        notes = {"steps": str(self.step), "validation": scores.summary()}
        self.model.residual = scores.residual
        self.model.save(self.config.output, half=True, notes=notes)
        self.model.load_trainable_state(own)

    def _is_done(self) -> bool:
        progress = self.config.budget.progress(self.step, self._watch.elapsed_s)
        return progress >= 1.0 or self._stopping.should_stop

    def _parameter_groups(self) -> list[dict[str, object]]:
        norms: list[Tensor] = []
        matrices: list[Tensor] = []
        vectors: list[Tensor] = []
        for parameter, name in self._names.items():
            if name.startswith("layer_norms."):
                norms.append(parameter)
            elif parameter.ndim == 2 and name != "prompt":
                matrices.append(parameter)
            else:
                vectors.append(parameter)
        norm_rate, head_rate = self.config.norm_rate, self.config.head_rate
        decay = self.config.weight_decay
        return [
            {"params": norms, "base_rate": norm_rate, "weight_decay": 0.0},
            {"params": matrices, "base_rate": head_rate, "weight_decay": decay},
            {"params": vectors, "base_rate": head_rate, "weight_decay": 0.0},
        ]

    def _resume(self) -> None:
        state = load_state(self.config.state)
        if state is None:
            return
        if state.counters.get("gallery_hash") != self._backbone.gallery_hash:
            raise ValueError(
                f"The state in {self.config.state} belongs to another backbone; "
                "delete the folder to start afresh."
            )
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}}
        for name, tensor in state.tensors.items():
            kind, _, rest = name.partition(".")
            if kind in groups:
                groups[kind][rest] = tensor.to(self._backbone.device)
        self.model.load_trainable_state(groups["model"])
        self._average.tensors = groups["average"]
        restore_optimizer(self._optimizer, self._names, state.tensors)
        self.step = int(state.counters["step"])
        self._stopping.best = float(state.counters["best"])
        self._stopping.num_stale = int(state.counters["num_stale"])
        self._watch = Stopwatch(before_s=float(state.counters["elapsed_s"]))


def train_duet(config: DuetTraining) -> DuetScores:
    """Trains, or goes on training, the duet composer; writes `config.output`.

    Raises:
        ValueError: The backbone, the pack or the state cannot be used.
    """
    logger.info("duet: %s", {k: str(v) for k, v in asdict(config).items()})
    return DuetTrainer(config).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the stage from a shell; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.duet")
    parser.add_argument("--kit", type=Path, required=True, help="folder of the kit")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, help="stop after so many steps")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--cached-steps", type=int, default=3000, help="first steps, on references encoded before"
    )
    parser.add_argument("--output", type=Path, help="default: KIT/composers/duet.safetensors")
    parser.add_argument("--state", type=Path, default=Path(".cache/training/duet"))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        train_duet(
            DuetTraining(
                clip=chosen.kit / "clip",
                data=chosen.data,
                output=chosen.output or chosen.kit / "composers" / "duet.safetensors",
                state=chosen.state,
                budget=Budget(minutes=chosen.minutes, num_steps=chosen.steps),
                batch_size=chosen.batch_size,
                num_cached_steps=chosen.cached_steps,
                device=chosen.device,
                seed=chosen.seed,
            )
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
