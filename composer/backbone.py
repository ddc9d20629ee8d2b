"""Frozen CLIP of a kit: pictures, texts and spliced prompts in one joint space."""

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Int, UInt8
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from composer.added_words import AddedWord, AddedWords, UsedWords, is_in_space, used_words
from composer.clip_files import (
    any_tokenizer,
    check_layout,
    is_feature_clip,
    load_folder,
    load_public,
    random_clip,
)
from composer.hashes import tower_hashes
from composer.layout import REGION_WEIGHT
from composer.media import LAYOUT_WEIGHTS
from composer.medium import Medium
from composer.splice import take_positions
from composer.vision import (
    ImageEncoding,
    copy_with_own_norms,
    encode_with_tower,
    fold_tower,
    lay_out,
    media_of,
    tower_facts,
)

MAX_ASPECT = 4.0
NUM_BESIDE = 10
"""Tokens of a prompt that an added word leaves room for: start, end, and what stands before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEncoding:
    """Output of the text tower for n prompts.

    Attributes:
        features: Unit vectors in the joint space, pooled at the end positions.
        hidden: All positions after the final norm, before the projection.
    """

    features: Float[Tensor, "n d"]
    hidden: Float[Tensor, "n l w"]


class Backbone:
    """A frozen CLIP in eval mode that takes token embeddings and gives patch features.

    No method disables gradients: the weights ask for none, and a caller that trains what flows
    through them needs the graph. Wrap calls in `torch.inference_mode()` otherwise.
    """

    has_tokens = True
    """Whether prompts may be composed of token embeddings."""

    _added: AddedWords | None = None

    def __init__(self, model: nn.Module, tokenizer: open_clip.SimpleTokenizer) -> None:
        """Take a loaded model of open_clip and the tokenizer it was trained with.

        Raises:
            BackboneError: The model's layout is not supported.
        """
        self.model: Any = model.eval().requires_grad_(False)
        self._text: Any = getattr(model, "text", model)
        self._fast_tower = cache(self._fold_tower)  # at first use, for copies, too
        check_layout(self.model, tokenizer)
        self._tokenizer = tokenizer
        self._preprocess_cfg = PreprocessCfg(**self.model.visual.preprocess_cfg)
        self._transform: Any = image_transform_v2(self._preprocess_cfg, is_train=False)
        self.start_id = int(tokenizer.sot_token_id)
        self.end_id = int(tokenizer.eot_token_id)
        self.context_length = int(self.model.context_length)
        self.token_width = int(self._text.token_embedding.weight.shape[1])
        facts = tower_facts(self.model.visual)
        self.vision_width, self.joint_dim = facts.width, facts.joint_dim
        self.grid, self.image_size_px = facts.grid, facts.image_px
        self.gallery_hash, self.text_hash = tower_hashes(self.model, asdict(self._preprocess_cfg))

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Backbone":
        """Load a CLIP from a local folder, or a public one by name.

        Args:
            source: A folder with `open_clip_config.json`, `open_clip_model.safetensors` and, for
                a vocabulary of its own, `merges.txt`; a folder in the layout of transformers
                (`config.json`, `model.safetensors`); or "architecture/tag" as open_clip lists
                them, which downloads its safetensors on first use. The tag "untrained" gives random
                weights, always the same, for measurements only.
            device: Where the weights go.
            dtype: Their precision; the hashes are taken before the conversion.

        Raises:
            BackboneError: The source is missing, incomplete or not a supported CLIP.
        """
        folder = Path(source)
        is_folder = isinstance(source, Path) or folder.exists() or source.startswith((".", "/"))
        model, tokenizer = load_folder(folder) if is_folder else load_public(str(source))
        kind: Any = cls
        if is_folder and is_feature_clip(model):
            from composer.feature_backbone import FeatureBackbone  # which extends this class

            kind, tokenizer = FeatureBackbone, any_tokenizer(folder)
        backbone: Backbone = kind(model, tokenizer)
        backbone.model.to(device=device, dtype=dtype)
        return backbone

    @classmethod
    def random(cls, folder: Path, *, device: str | torch.device, dtype: torch.dtype) -> "Backbone":
        """Make the CLIP of a folder's `config.json` with random weights, for measurements only.

        Raises:
            BackboneError: The folder is not in the layout of transformers, or not supported.
        """
        backbone = cls(*random_clip(folder, dtype))
        backbone.model.to(device=device)
        return backbone

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._text.token_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self._text.token_embedding.weight.dtype

    @property
    def tells_media_apart(self) -> bool:
        """Whether drawings have a head of their own, which centres them as photos are centred."""
        return media_of(self.model.visual) is not None

    def layout_weight(self, medium: Medium) -> float:
        """Return the share of the layout in the order of a short-list, for one kind of query."""
        return LAYOUT_WEIGHTS[medium] if self.tells_media_apart else REGION_WEIGHT

    @property
    def logit_scale(self) -> float:
        """Factor that cosines are multiplied by, as CLIP was trained."""
        return float(self.model.logit_scale.exp())

    def preprocess(self, images: Sequence[Image.Image]) -> Float[Tensor, "n 3 h w"]:
        """Resize, crop and normalise RGB images as the backbone was trained.

        Panoramas are cut to an aspect of four first, so that resizing the shorter side stays small.
        """
        pixels = torch.stack([self._transform(_limit_aspect(image)) for image in images])
        return pixels.to(device=self.device, dtype=self.dtype)

    def crop(self, image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
        """Resize and crop one RGB image as `preprocess` does, without normalising it.

        `normalise_pixels` normalises a whole batch; this part may run in threads.
        """
        image = _limit_aspect(image)
        for step in self._transform.transforms[:-2]:  # before levels become numbers
            image = step(image)
        return np.array(image)

    def normalise_pixels(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
        """Normalise RGB levels that have the backbone's size already; no resizing.

        Raises:
            ValueError: The images have another size.
        """
        if images.shape[1:] != (self.image_size_px, self.image_size_px, 3):
            size = self.image_size_px
            raise ValueError(f"Images must be {size} x {size} px RGB, got shape {images.shape}.")
        levels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        return self.normalise_levels(levels.permute(0, 3, 1, 2).float() / 255)

    def normalise_levels(self, levels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Normalise RGB levels in [0, 1] of any size."""
        config = self._preprocess_cfg
        mean = torch.tensor(config.mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(config.std, device=self.device).view(1, 3, 1, 1)
        return ((levels.to(self.device) - mean) / std).to(self.dtype)

    def encode_image(
        self, pixels: Float[Tensor, "n 3 h w"], medium: Medium = Medium.PHOTO
    ) -> ImageEncoding:
        """Encode preprocessed images with the frozen vision tower; galleries are photos."""
        return encode_with_tower(self._fast_tower(), pixels, medium=medium)

    def _fold_tower(self) -> nn.Module:
        """Return the tower folded; half precision would not bear the folding."""
        visual: nn.Module = self.model.visual
        return fold_tower(visual) if self.dtype is torch.float32 else visual

    def layouts(self, seen: ImageEncoding) -> Float[Tensor, "n c"]:
        """Return the layouts of images that this tower, or a tuned copy, encoded."""
        return lay_out(self.model.visual, seen)

    def copy_vision_tower(self) -> nn.Module:
        """Copy the vision tower for tuning its normalisation layers and nothing else."""
        return copy_with_own_norms(self.model.visual)

    @property
    def added_words(self) -> tuple[AddedWord, ...]:
        """Words beside those of the vocabulary."""
        return () if self._added is None else self._added.words

    def with_words(self, words: Sequence[AddedWord]) -> "Backbone":
        """Return this CLIP with further words, which texts name as `<name>`; weights are shared.

        Words of another token space are left out: `check_space` says which.

        Raises:
            InputError: There are too many, two have one name, or one has too many vectors.
        """
        fitting = [one for one in words if is_in_space(one, self.text_hash, self.token_width)]
        reader = copy(self)
        room = self.context_length - NUM_BESIDE
        reader._added = AddedWords(fitting, self.token_table(), room) if fitting else None
        return reader

    def opens_prompt(self, text: str) -> bool:
        """Tell whether a text begins with an added word that brings a prompt with it."""
        first = [] if self._added is None else self._added.split(text)[:1]
        return any(isinstance(part, AddedWord) and part.opens_prompt for part in first)

    def used_words(self, text: str, prompt: Float[Tensor, "l w"]) -> UsedWords | None:
        """Return which added words a text uses whose prompt this is; None if it uses none."""
        if self._added is None:
            return None
        return used_words(self._added.words, self.words(text), prompt)

    def without_added_words(self, text: str) -> str:
        """Return a text with a blank for each added word."""
        if self._added is None:
            return text
        return " ".join(
            "" if isinstance(part, AddedWord) else part for part in self._added.split(text)
        )

    def word_ids(self, text: str) -> list[list[int]]:
        """Split a text into words and each word into ids, without start and end.

        Markers of start and end written by a user are dropped, as they would end the prompt.
        """
        if self._added is None:
            return self._plain_word_ids(text)
        ids: list[list[int]] = []
        for part in self._added.split(text):
            is_added = isinstance(part, AddedWord)
            ids += [self._added.ids(part)] if is_added else self._plain_word_ids(part)
        return ids

    def _plain_word_ids(self, text: str) -> list[list[int]]:
        special = set(self._tokenizer.all_special_ids)
        words = self._tokenizer.clean_fn(text).split()
        ids = [[i for i in self._tokenizer.encode(word) if i not in special] for word in words]
        return [word for word in ids if word]

    def words(self, text: str) -> list[str]:
        """Return the cleaned words whose ids `word_ids` returns, added ones in lower case."""
        return [self._word_of(ids) for ids in self.word_ids(text)]

    def _word_of(self, ids: list[int]) -> str:
        mark = None if self._added is None else self._added.name(ids[0])
        return self._tokenizer.decode(ids).strip() if mark is None else mark

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n l"]:
        """Return vocabulary ids: start, words, end, padded with end-of-text to the context length.

        Longer texts are cut and the end is kept.
        """
        room = self.context_length - 2
        rows = torch.full((len(texts), self.context_length), self.end_id)
        for row, text in zip(rows, texts, strict=True):
            ids = [i for word in self.word_ids(text) for i in word][:room]
            row[: len(ids) + 1] = torch.tensor([self.start_id, *ids])
        return rows.to(self.device)

    def token_table(self) -> Float[Tensor, "v w"]:
        """Return the token embeddings of the vocabulary: live weights, never to be changed."""
        return self._text.token_embedding.weight

    def embed(self, ids: Int[Tensor, "*n l"]) -> Float[Tensor, "*n l w"]:
        """Return the token embeddings of ids, of the vocabulary or of added words."""
        table = self.token_table()
        return table[ids] if self._added is None else self._added.embed(ids, table)

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return unit text features of plain texts; their padding is not computed."""
        ids = self.tokenize(texts)
        ends = end_positions(ids, self.end_id)
        ids = ids[:, : int(ends.max()) + 1]
        return self.encode_embeddings(self.embed(ids), ends).features

    def encode_embeddings(
        self, embeddings: Float[Tensor, "n l w"], end_positions: Int[Tensor, " n"]
    ) -> TextEncoding:
        """Encode prompts given as token embeddings, before positions are added.

        Args:
            embeddings: Token embeddings of at most `context_length` positions.
            end_positions: Index of the first end-of-text of each prompt, where it is pooled.

        Returns:
            Features and hidden states; what follows an end cannot change its feature.

        Raises:
            ValueError: The prompts are longer than the context or have another width.

        Source: the forward pass of open_clip's text tower, on its own modules.
        """
        _, length, width = embeddings.shape
        if length > self.context_length or width != self.token_width:
            raise ValueError(
                f"Prompts must have at most {self.context_length} tokens of width "
                f"{self.token_width}, got {length} of width {width}."
            )
        text = self._text
        dtype = text.transformer.get_cast_dtype()
        x = embeddings.to(dtype) + text.positional_embedding[:length].to(dtype)
        mask = text.attn_mask
        x = text.transformer(x, attn_mask=None if mask is None else mask[:length, :length])
        hidden = text.ln_final(x)  # n l w
        pooled = take_positions(hidden, end_positions)
        projection = text.text_projection
        if isinstance(projection, nn.Linear):
            pooled = projection(pooled)
        elif projection is not None:
            pooled = pooled @ projection
        return TextEncoding(features=functional.normalize(pooled, dim=-1), hidden=hidden)


def end_positions(ids: Int[Tensor, "n l"], end_id: int) -> Int[Tensor, " n"]:
    """Return the index of the first end-of-text in each row, padded with end-of-text or not."""
    return (ids != end_id).int().cumprod(dim=-1).sum(dim=-1)


def _limit_aspect(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = int(MAX_ASPECT * min(width, height))
    if max(width, height) <= longest:
        return image
    new_width, new_height = min(width, longest), min(height, longest)
    left, top = (width - new_width) // 2, (height - new_height) // 2
    return image.crop((left, top, left + new_width, top + new_height))
