"""Pretrains the mini CLIP: contrastive, multi-positive, first on small pictures.

Source: CLIP (Radford et al. 2021) for the objective; CLIPA (Li et al. 2023) for training on small
pictures first and FLIP (Li et al. 2023) on a part of the patches; SupCon (Khosla et al. 2020) for
several positives a row: captions repeat in these data, so every caption of the batch that is true
of a picture counts as a positive. SuperClass (Huang et al. 2024) for naming the captions' words
from the picture alone, which sets the vision tower on its way while the text tower is still blind.
"""

import argparse
import json
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from open_clip import CLIP, SimpleTokenizer
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import PatchDropout
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from composer.backbone import load_tokenizer
from composer.data.augment import crop_photos
from composer.data.catalogue import CataloguePack, picture_tables
from composer.data.natural import read_natural
from composer.data.pictures import CaptionIds, PictureTable, truth_matrix
from composer.prompt import encode_by_length
from composer.training.bpe import train_merges, write_merges
from composer.training.loop import fast_precision
from composer.training.state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
CONTEXT = 40
EMBED_DIM = 256
VOCAB_SIZE = 7424  # as many as keep the fp16 file below its share of the assets, 34 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of training.

    Attributes:
        num_steps: How long it is.
        catalogue_share: Share of each batch that is drawn from the catalogue's tables.
        sketch_share: Share of sketches among these; as `source_weights` has it if None.
        image_px: Side of the pictures, a multiple of the patch.
        patch_dropout: Share of the patches left out, drawn anew for each picture.
        hard_share: Share of the batches whose catalogue pictures come from four kinds only.
        word_weight: Weight of the loss that names the captions' words from the picture alone.
        is_contrastive: Whether pictures and captions are told apart; if not, the text tower rests.
        decays: Whether the learning rate falls to 2 % over the phase.
    """

    num_steps: int
    catalogue_share: float
    sketch_share: float | None = None
    image_px: int = 128
    patch_dropout: float = 0.0
    hard_share: float = 0.5
    word_weight: float = 0.0
    is_contrastive: bool = True
    decays: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTraining:
    """The recipe of one run: `phases` follow each other.

    Words that fewer than `min_captions` of the distinct captions hold are not asked for.
    """

    phases: tuple[Phase, ...]
    vision_width: int = 320
    vision_layers: int = 8
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    num_warmup_steps: int = 300
    min_captions: int = 30
    seed: int = 0
    save_every: int = 250
    log_every: int = 50
    source_weights: dict[str, float] = field(
        default_factory=lambda: {
            "tiny_imagenet": 0.3,
            "sketchy": 0.24,
            "chairv2": 0.08,
            "shoev2": 0.02,
            "pacs": 0.10,
            "flickr": 0.06,
            "noto": 0.10,
            "phosphor": 0.10,
            "catalogue_photos": 0.6,
            "catalogue_domains": 0.12,
            "catalogue_sketches": 0.28,
        }
    )

    @property
    def num_steps(self) -> int:
        """Return the steps of all phases."""
        return sum(phase.num_steps for phase in self.phases)


def vision_config(recipe: ClipTraining) -> CLIPVisionCfg:
    """Return the mini vision tower: 128 px, patch 16, as wide and deep as the recipe says."""
    return CLIPVisionCfg(
        layers=recipe.vision_layers,
        width=recipe.vision_width,
        head_width=64,
        patch_size=16,
        image_size=128,
        patch_dropout=0.5,  # each phase sets its own; with 0 the module would be missing
    )


def text_config(vocab_size: int) -> CLIPTextCfg:
    """Return the mini text tower: width 256, 6 layers, context 40."""
    return CLIPTextCfg(context_length=CONTEXT, vocab_size=vocab_size, width=256, heads=4, layers=6)


def build_mini_clip(vocab_size: int, recipe: ClipTraining) -> CLIP:
    """Build the mini CLIP with random weights from the recipe's seed.

    What the vision tower's blocks add starts small, as open_clip has it for text towers.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.seed)
        model = CLIP(EMBED_DIM, vision_config(recipe), text_config(vocab_size))
        tower: Any = model.visual
        for block in tower.transformer.resblocks:
            block.attn.out_proj.weight.normal_(0, 0.01)
            block.mlp.c_proj.weight.normal_(0, 0.01)
        model.logit_scale.fill_(math.log(1 / 0.07))
    return model


def _word_head(recipe: ClipTraining, num_words: int) -> torch.nn.Linear:
    """Build the head with random weights: from zeros, every picture first looks the same to it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return torch.nn.Linear(recipe.vision_width, num_words)


def encode_text(model: CLIP, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
    """Encode texts in groups of like length, each cut to its longest; open_clip pads them all."""
    lengths = ids.argmax(dim=-1) + 1
    return encode_by_length(lengths, lambda group, most: _encode_cut(model, ids[group, :most]))


def _encode_cut(model: CLIP, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
    tower: Any = model  # its modules are set by name, which the type checker cannot follow
    length = ids.shape[1]
    hidden = tower.token_embedding(ids) + tower.positional_embedding[:length]
    hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
    pooled = tower.ln_final(hidden)[torch.arange(len(ids)), ids.argmax(dim=-1)]
    return functional.normalize(pooled @ tower.text_projection, dim=-1)


def encode_pixels(
    model: CLIP, pixels: Float[Tensor, "b 3 s s"]
) -> tuple[Float[Tensor, "b w"], Float[Tensor, "b d"]]:
    """Encode pictures of any size that patches divide; positions are averaged for smaller ones.

    Returns the pooled features before the projection, and the normalised joint features.
    """
    visual: Any = model.visual
    patches = visual.conv1(pixels)
    places = visual.positional_embedding[1:].T.unflatten(1, visual.grid_size)
    places = functional.adaptive_avg_pool2d(places, patches.shape[-2:])
    hidden = (patches + places).flatten(2).transpose(1, 2)
    first = visual.class_embedding + visual.positional_embedding[0]
    hidden = torch.cat([first.expand(len(hidden), 1, -1), hidden], dim=1)
    hidden = visual.transformer(visual.ln_pre(visual.patch_dropout(hidden)))
    pooled = visual.ln_post(hidden[:, 0])
    return pooled, functional.normalize(pooled @ visual.proj, dim=-1)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What a step learns from.

    Attributes:
        pixels: Normalised pictures.
        ids: Token ids of the distinct captions said of them.
        truth: Which caption is true of which picture.
        words: Shares of the words of all captions of each picture; rows sum to 1, or to 0.
    """

    pixels: Float[Tensor, "b 3 s s"]
    ids: Int[Tensor, "t l"]
    truth: Bool[Tensor, "b t"]
    words: Float[Tensor, "b w"]

    def to(self, device: str) -> "Batch":
        """Return the batch on a device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class CaptionWords:
    """The words that captions share, and how much each says: the rarer the more."""

    def __init__(self, texts: Sequence[str], at_least: int) -> None:
        """Take the words that at least so many of the distinct captions hold."""
        said = [set(re.findall(r"[a-z]+", text.lower())) for text in texts]
        counts = Counter(word for words in said for word in words)
        self.words = sorted(word for word, count in counts.items() if count >= at_least)
        number = {word: index for index, word in enumerate(self.words)}
        self._holds = np.zeros((len(texts), len(self.words)), dtype=bool)
        for row, words in enumerate(said):
            self._holds[row, [number[word] for word in words if word in number]] = True
        shares = np.array([counts[word] / len(texts) for word in self.words])
        self._says = -np.log(shares).astype(np.float32)

    def targets(self, ids: Int[np.ndarray, "b k"]) -> Float[Tensor, "b w"]:
        """Return the shares of the words in the captions of each picture, as weighted."""
        held = (self._holds[ids] & (ids >= 0)[..., None]).any(1) * self._says
        return torch.from_numpy(held / np.maximum(held.sum(1, keepdims=True), 1e-6))


def word_loss(scores: Float[Tensor, "b w"], words: Float[Tensor, "b w"]) -> Float[Tensor, ""]:
    """Return the cross entropy of the words' scores against their shares."""
    return -(words * scores.log_softmax(1)).sum(1).mean()


class Batches:
    """Draws batches from the tables; every draw is a function of the seed and the step."""

    def __init__(
        self, tables: Sequence[PictureTable], tokenizer: SimpleTokenizer, recipe: ClipTraining
    ) -> None:
        """Number and tokenize the captions of all tables once."""
        self._tables = list(tables)
        self._captions = CaptionIds(tables)
        self._tokens = tokenizer(self._captions.texts)
        self._words = CaptionWords(self._captions.texts, recipe.min_captions)
        self._recipe = recipe

    @property
    def num_words(self) -> int:
        """Return how many words the vision tower is asked to name."""
        return len(self._words.words)

    def draw(self, step: int, phase: Phase) -> Batch:
        """Return the batch of a step: pictures, some of their captions, what is true of which."""
        rng = np.random.default_rng([self._recipe.seed, step])
        pixels, true_ids, said = [], [], []
        is_hard = rng.random() < phase.hard_share
        for index, count in self._counts(rng, phase):
            table = self._tables[index]
            rows = self._rows(table, count, rng, is_hard=is_hard)
            ids = self._captions.of(index, rows)
            smallest = 0.8 if table.name.startswith("catalogue") else 0.65
            pixels.append(crop_photos(table.images[rows], 128, rng, smallest=smallest))
            true_ids.append(ids)
            num_said = (ids >= 0).sum(1)
            said.append(ids[np.arange(len(rows)), rng.integers(0, num_said)])
        texts = np.unique(np.concatenate(said))
        return Batch(
            pixels=_normalise(_shrunk(torch.cat(pixels), phase.image_px)),
            ids=self._tokens[texts],
            truth=truth_matrix(true_ids, texts),
            words=torch.cat([self._words.targets(ids) for ids in true_ids]),
        )

    def _counts(self, rng: np.random.Generator, phase: Phase) -> list[tuple[int, int]]:
        names = [table.name for table in self._tables]
        own = np.array([name.startswith("catalogue") for name in names])
        drawn = np.array([name == "catalogue_sketches" for name in names])
        weights = np.array([self._recipe.source_weights[name] for name in names])
        share = phase.catalogue_share if own.any() else 0.0
        groups = [(own, share), (~own, 1 - share)]
        if phase.sketch_share is not None and drawn.any():
            groups[:1] = [
                (drawn, share * phase.sketch_share),
                (own & ~drawn, share * (1 - phase.sketch_share)),
            ]
        for mask, total in groups:
            if mask.any():
                weights[mask] *= total / weights[mask].sum()
        counts = rng.multinomial(self._recipe.batch_size, weights / weights.sum())
        return [(index, int(count)) for index, count in enumerate(counts) if count]

    @staticmethod
    def _rows(
        table: PictureTable, count: int, rng: np.random.Generator, *, is_hard: bool
    ) -> np.ndarray:
        """Draw rows; in a hard batch those of a grouped catalogue table come from four groups."""
        if table.groups is None or not table.name.startswith("catalogue") or not is_hard:
            return rng.integers(0, len(table), count)
        groups = np.asarray(table.groups)
        chosen = rng.choice(np.unique(groups), size=4, replace=False)
        return rng.choice(np.flatnonzero(np.isin(groups, chosen)), size=count)


def _shrunk(pixels: Float[Tensor, "b 3 h w"], size_px: int) -> Float[Tensor, "b 3 s s"]:
    return functional.adaptive_avg_pool2d(pixels, size_px)


def _normalise(pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where a run writes: the CLIP folder, and the state it resumes from."""

    out: Path
    state: Path


class ClipTrainer:
    """The run: model, optimizer, step; saves, resumes and exports."""

    def __init__(
        self, recipe: ClipTraining, tables: Sequence[PictureTable], places: Places, device: str
    ) -> None:
        """Build, or resume what `places.state` holds; `places.out` holds `merges.txt`."""
        self.recipe, self.places, self.device = recipe, places, device
        self._uses_bf16 = fast_precision(torch.device(device)) == "bf16"
        tokenizer = load_tokenizer(places.out, CONTEXT)
        self.batches = Batches(tables, tokenizer, recipe)
        self.model = build_mini_clip(tokenizer.vocab_size, recipe).to(device).train()
        self._words = _word_head(recipe, self.batches.num_words).to(device)
        self._modules = torch.nn.ModuleDict({"clip": self.model, "words": self._words})
        self._names: dict[Tensor, str] = {p: name for name, p in self._modules.named_parameters()}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=1e-3, betas=(0.9, 0.98), fused=True)
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
        state = load_state(self.places.state)
        if state is None:
            return
        weights = {n: t for n, t in state.tensors.items() if not n.startswith("optimizer.")}
        self._modules.load_state_dict(weights)
        restore_optimizer(self.optimizer, self._names, state.tensors)
        self.step = int(state.counters["step"])

    def run(self) -> None:
        """Train to the last step, logging and saving; a resumed run ends with the same weights."""
        started, first = time.monotonic(), self.step
        while self.step < self.recipe.num_steps:
            loss, word, hits = self._train_step()
            self.step += 1
            if self.step % self.recipe.log_every == 0:
                rate = (time.monotonic() - started) / (self.step - first)
                left = rate * (self.recipe.num_steps - self.step) / 60
                speed = self.recipe.batch_size / rate
                print(  # noqa: T201  the run's log
                    f"clip step {self.step}/{self.recipe.num_steps} loss {loss:.3f} words "
                    f"{word:.3f} in-batch {hits:.3f} {speed:.0f} pairs/s {left:.0f} min left",
                    flush=True,
                )
            if self.step % self.recipe.save_every == 0 or self.step == self.recipe.num_steps:
                self._save()

    def _train_step(self) -> tuple[float, float, float]:
        phase, rate = _phase_at(self.recipe, self.step)
        dropout = self.model.visual.patch_dropout
        assert isinstance(dropout, PatchDropout)
        dropout.prob = phase.patch_dropout
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)  # which patches are dropped
        batch = self.batches.draw(self.step, phase).to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self._uses_bf16):
            pooled, image = encode_pixels(self.model, batch.pixels)
            text = encode_text(self.model, batch.ids) if phase.is_contrastive else None
            scores = self._words(pooled)
        words = word_loss(scores.float(), batch.words)
        loss, hits = torch.zeros(()), math.nan
        if text is not None:
            scale = self.model.logit_scale.exp().clamp(max=100)
            loss = contrastive_loss(image.float(), text.float(), batch.truth, scale)
            hits = _share_right(image, text, batch.truth)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + phase.word_weight * words).backward()
        torch.nn.utils.clip_grad_norm_(self._modules.parameters(), 1.0)
        self.optimizer.step()
        return float(loss.detach()), float(words.detach()), hits

    def _save(self) -> None:
        tensors = dict(self._modules.state_dict())
        tensors |= optimizer_tensors(self.optimizer, self._names)
        counters = {"step": self.step, "recipe": asdict(self.recipe)}
        save_state(self.places.state, TrainingState(tensors=tensors, counters=counters))

    def export(self) -> None:
        """Write the open_clip folder: config and fp16 weights."""
        export_clip(self.model, self.recipe, self.places.out)


@torch.no_grad()
def _share_right(
    image: Float[Tensor, "b d"], text: Float[Tensor, "t d"], truth: Bool[Tensor, "b t"]
) -> float:
    """Return the share of pictures whose nearest caption is true of them."""
    nearest = (image @ text.T).argmax(1, keepdim=True)
    return float(truth.gather(1, nearest).float().mean())


def export_clip(model: CLIP, recipe: ClipTraining, folder: Path) -> None:
    """Write `open_clip_config.json` and fp16 `open_clip_model.safetensors`."""
    vision = {k: v for k, v in asdict(vision_config(recipe)).items() if k in _VISION_KEYS}
    vocab_size = model.vocab_size
    text = {k: v for k, v in asdict(text_config(vocab_size)).items() if k in _TEXT_KEYS}
    config = {
        "model_cfg": {"embed_dim": EMBED_DIM, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


_VISION_KEYS = {"layers", "width", "head_width", "patch_size", "image_size"}
_TEXT_KEYS = {"context_length", "vocab_size", "width", "heads", "layers"}


def _phase_at(recipe: ClipTraining, step: int) -> tuple[Phase, float]:
    """Return the phase of a step and its rate: warm-up, then flat or falling with the phase."""
    begin, phase = 0, recipe.phases[0]
    for phase in recipe.phases:
        if step < begin + phase.num_steps:
            break
        begin += phase.num_steps
    left = max(0.02, 1 - (step - begin) / phase.num_steps) if phase.decays else 1.0
    warm = min(1.0, (step + 1) / recipe.num_warmup_steps)
    return phase, recipe.learning_rate * min(warm, left)


def learn_vocabulary(tables: Sequence[PictureTable], folder: Path) -> None:
    """Write `merges.txt` from the captions, each distinct one counted four times."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = CaptionIds(tables).texts
    write_merges(train_merges(texts * 4, vocab_size=VOCAB_SIZE), folder / "merges.txt")


CPU_RECIPE = ClipTraining(
    phases=(
        Phase(
            num_steps=800,
            catalogue_share=0.95,
            image_px=64,
            hard_share=0.0,
            word_weight=1.0,
            is_contrastive=False,
        ),
        Phase(num_steps=1600, catalogue_share=0.8, image_px=64, hard_share=0.3, word_weight=0.3),
        Phase(num_steps=900, catalogue_share=0.9, sketch_share=0.45, decays=True),
        Phase(
            num_steps=1300, catalogue_share=0.85, sketch_share=0.65, word_weight=0.3, decays=True
        ),
    ),
    vision_width=256,
    vision_layers=6,
    batch_size=64,
    learning_rate=5e-4,
    num_warmup_steps=60,
)
GPU_RECIPE = ClipTraining(
    phases=(
        Phase(
            num_steps=2000,
            catalogue_share=0.5,
            image_px=64,
            hard_share=0.0,
            word_weight=1.0,
            is_contrastive=False,
        ),
        Phase(num_steps=8000, catalogue_share=0.6, patch_dropout=0.5, word_weight=0.3),
        Phase(num_steps=4000, catalogue_share=0.7, sketch_share=0.4, decays=True),
    ),
    batch_size=1024,
)


RECIPES = {"cpu": CPU_RECIPE, "gpu": GPU_RECIPE}


def train_clip(
    recipe: ClipTraining, tables: Sequence[PictureTable], places: Places, device: str = "cpu"
) -> None:
    """Learn the vocabulary if there is none, train or resume, export."""
    if not (places.out / "merges.txt").exists():
        learn_vocabulary(tables, places.out)
    trainer = ClipTrainer(recipe, tables, places, device)
    trainer.run()
    trainer.export()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stage from a shell."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.clip")
    parser.add_argument("--data", type=Path, required=True, help="the catalogue's training pack")
    parser.add_argument("--natural", type=Path, help="folder of the natural archives")
    parser.add_argument("--out", type=Path, required=True, help="the CLIP folder")
    parser.add_argument("--state", type=Path, default=Path(".cache/training/clip"))
    parser.add_argument("--budget", choices=tuple(RECIPES), default="cpu")
    chosen = parser.parse_args(arguments)
    tables = picture_tables(CataloguePack.open(chosen.data))
    if chosen.natural is not None:
        tables += read_natural(chosen.natural)
    device = "cuda" if chosen.budget == "gpu" else "cpu"
    train_clip(RECIPES[chosen.budget], tables, Places(out=chosen.out, state=chosen.state), device)


if __name__ == "__main__":
    main()
