"""Conditions of the UNet for each picture: captions, or a drawing's token and words."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.data.views import mirrored_words
from composer.data.wording import sample_domain_wording, sample_wording
from composer.prompt import assemble_prompts
from composer.query import Query
from composer.strategies.duet import DuetComposer
from composer.training.phrases import MEDIUM_PHRASES
from generation.training.stock import add_weights

_PHOTOS_PER_DESIGN = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """How often each condition is drawn; the shares add up to 1.

    Attributes:
        caption: a caption or a paraphrase.
        token_words: `[P_L; s_w; words]`.
        token: `[P_L; s_w]`.
        empty: the empty prompt, for guidance.
        photo_token: share of the token conditions whose token comes from a photo of the design
            instead of a sketch, as in a transfer.
        view_caption: share of the captions that also say view and framing, where the pack does.
    """

    caption: float = 0.4
    token_words: float = 0.4
    token: float = 0.1
    empty: float = 0.1
    photo_token: float = 0.2
    view_caption: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DesignTokens:
    """Pseudo-word tokens of each design: of its sketches and of a few photos.

    Attributes:
        tokens: one row per reference.
        of_sketches: rows of the sketches' tokens by design.
        of_photos: rows of the photos' tokens by design.
        prompt: the composer's learned prompt P_L.
        composer_hash: Hash of the composer's weights; the tokens themselves differ in their last
            digits from one processor, or number of threads, to another.
    """

    tokens: Float[Tensor, "t p w"]
    of_sketches: dict[str, tuple[int, ...]]
    of_photos: dict[str, tuple[int, ...]]
    prompt: Float[Tensor, "k w"]
    composer_hash: str


def collect_tokens(composer: DuetComposer, pack: CataloguePack, split: str) -> DesignTokens:
    """Encode the references of a split with a trained, frozen composer, one by one."""
    tokens: list[Tensor] = []
    sketches: dict[str, list[int]] = defaultdict(list)
    photos: dict[str, list[int]] = defaultdict(list)

    def add(query: Query, rows: list[int]) -> None:
        encoded = composer.encode(query).pseudo_tokens
        assert encoded is not None
        rows.append(len(tokens))
        tokens.append(encoded.cpu())

    for sketch in pack.sketches:
        if sketch.split == split:
            add(Query(sketch=sketch.sketch), sketches[sketch.design])
    for row in pack.rows(split=split, domain=PHOTO):
        rows = photos[pack.items[row].design]
        if len(rows) < _PHOTOS_PER_DESIGN:
            picture = pack.pixels(np.array([row]))[0]
            add(Query(image=Image.fromarray(picture)), rows)
    digest = hashlib.sha256()
    add_weights(digest, composer.model)
    return DesignTokens(
        tokens=torch.stack(tokens),
        of_sketches={design: tuple(rows) for design, rows in sketches.items()},
        of_photos={design: tuple(rows) for design, rows in photos.items()},
        prompt=composer.model.prompt.detach().cpu(),
        composer_hash=digest.hexdigest(),
    )


def usable_rows(pack: CataloguePack, split: str) -> Int[np.ndarray, " n"]:
    """Return rows of photos and of named media; unnamed media are reserved for examples."""
    named = {PHOTO, *MEDIUM_PHRASES}
    rows = pack.rows(split=split)
    return np.array([row for row in rows if pack.items[row].domain in named], dtype=np.int64)


class Conditioner:
    """Draws conditions for pictures and encodes them by the frozen text tower."""

    def __init__(
        self, backbone: Backbone, pack: CataloguePack, tokens: DesignTokens, shares: Shares
    ) -> None:
        self.backbone, self.pack, self.tokens, self.shares = backbone, pack, tokens, shares
        self._prompt = tokens.prompt.to(backbone.device)
        self._tokens = tokens.tokens.to(backbone.device)

    @torch.no_grad()
    def draw(
        self,
        rows: Int[np.ndarray, " n"],
        generator: torch.Generator,
        is_mirrored: Bool[np.ndarray, " n"] | None = None,
    ) -> Float[Tensor, "n l w"]:
        """Draw a condition for each picture and return the hidden states.

        Args:
            rows: Of the pack.
            generator: Of the choice.
            is_mirrored: Pictures whose words must swap left and right.
        """
        seed = int(torch.randint(2**62, (1,), generator=generator))
        rng = np.random.default_rng(seed)
        plain: dict[int, str] = {}
        spliced: dict[int, tuple[int, str]] = {}
        for i, row in enumerate(rows):
            self._choose(int(row), i, rng, plain, spliced)
        for i in () if is_mirrored is None else np.flatnonzero(is_mirrored).tolist():
            if i in plain:
                plain[i] = mirrored_words(plain[i])
            else:
                spliced[i] = spliced[i][0], mirrored_words(spliced[i][1])
        return self._encode(len(rows), plain, spliced)

    def _choose(
        self,
        row: int,
        index: int,
        rng: np.random.Generator,
        plain: dict[int, str],
        spliced: dict[int, tuple[int, str]],
    ) -> None:
        item, shares = self.pack.items[row], self.shares
        choice = rng.random()
        reference = self._reference(item.design, rng)
        if choice < shares.empty:
            plain[index] = ""
        elif reference is None or choice < shares.empty + shares.caption:
            plain[index] = self._caption(row, rng)
        elif item.domain != PHOTO:  # without its name the medium would leak into photos
            spliced[index] = (reference, sample_domain_wording(item, rng).text)
        elif choice < shares.empty + shares.caption + shares.token_words:
            words = item.attributes if rng.random() < 0.6 else sample_wording(item, rng).text
            spliced[index] = (reference, words)
        else:
            spliced[index] = (reference, "")

    def _caption(self, row: int, rng: np.random.Generator) -> str:
        """Draw a caption; in each half the fullest is as frequent as all others together."""
        texts = (self.pack.items[row].caption, *self.pack.items[row].paraphrases)
        if self.pack.has_views and rng.random() < self.shares.view_caption:
            texts = self.pack.view(row).captions
        weights = np.array([len(texts), *(1.0 for _ in texts[1:])])
        return texts[int(rng.choice(len(texts), p=weights / weights.sum()))]

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Float[Tensor, "n l w"]:
        """Return the hidden states of plain texts."""
        return self._encode(len(texts), dict(enumerate(texts)), {})

    def _reference(self, design: str, rng: np.random.Generator) -> int | None:
        sketches = self.tokens.of_sketches.get(design, ())
        photos = self.tokens.of_photos.get(design, ())
        takes_photo = rng.random() < self.shares.photo_token
        rows = photos if (takes_photo and photos) or not sketches else sketches
        return rows[int(rng.integers(len(rows)))] if rows else None

    def _encode(
        self, count: int, plain: dict[int, str], spliced: dict[int, tuple[int, str]]
    ) -> Tensor:
        backbone, table = self.backbone, self.backbone.token_table()
        embeddings = table.new_empty(count, backbone.context_length, backbone.token_width)
        if plain:
            ids = backbone.tokenize(list(plain.values()))
            embeddings[list(plain)] = table[ids]
        if spliced:
            references = torch.tensor([reference for reference, _ in spliced.values()])
            embeddings[list(spliced)] = self.splice(
                self._tokens[references.to(self._tokens.device)],
                [words for _, words in spliced.values()],
            )
        ends = torch.zeros(count, dtype=torch.long, device=table.device)  # only hidden is used
        return backbone.encode_embeddings(embeddings, ends).hidden

    def splice(self, pseudo: Float[Tensor, "n p w"], texts: list[str]) -> Float[Tensor, "n l w"]:
        """`[P_L; s_w; words]` as the duet composer lays it out, before positions."""
        ids = [[i for word in self.backbone.word_ids(text) for i in word] for text in texts]
        batch = assemble_prompts(
            self.backbone,
            prefix=self._prompt,
            pseudo=pseudo,
            word_ids=ids,
            length=self.backbone.context_length,
        )
        return batch.embeddings
