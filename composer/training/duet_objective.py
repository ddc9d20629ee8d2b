"""Losses of duet training."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from composer.backbone import Backbone
from composer.data.duet_batches import DuetBatch, GalleryFeatures
from composer.prompt import PromptBatch, assemble_prompts, encode_by_length
from composer.strategies.duet import DuetModel
from composer.training.losses import (
    compositionality,
    distance,
    multi_positive_nce,
    neutrality,
    region_triplet,
    text_to_text,
    triplet,
)
from composer.training.phrases import HAND_PROMPTS, NEUTRAL


@dataclass(frozen=True, kw_only=True, slots=True)
class DuetWeights:
    """Weight of every term; zero switches a term off and saves its prompts.

    The first seven are the paper's six losses; the last four are ours: the catalogue has captions,
    which the paper's data had not. The last two need steps through the tower.

    Attributes:
        triplet: `L_trip` of the reference alone.
        delta_triplet: `L_trip` of the reference completed by delta_w.
        region: `L_RT` of the reference alone.
        compositionality: `L_comp`.
        neutrality: `L_reg`.
        text_to_text: `L_TT`.
        reconstruction: `L_rec`, by a decoder that is not exported.
        words: Multi-positive InfoNCE of reference and words against the whole training gallery.
        reference: The same of the reference alone.
        layout: The same of the tuned tower's layout of the reference, by which a search re-ranks
            its best hits.
        natural: InfoNCE of hand-drawn references against photos of the natural world.
    """

    triplet: float = 0.5
    delta_triplet: float = 0.25
    region: float = 0.25
    compositionality: float = 0.5
    neutrality: float = 0.5
    text_to_text: float = 0.25
    reconstruction: float = 0.0
    words: float = 1.0
    reference: float = 0.5
    layout: float = 0.5
    natural: float = 0.25


TOWER_TERMS = ("layout", "natural")


@dataclass(frozen=True, kw_only=True, slots=True)
class DuetMargins:
    """Margins of the triplets and temperatures of the softmaxes.

    Attributes:
        triplet: m.
        compositionality: m_c.
        region_temperature: Of the softmax over regions.
        nce_temperature: Of the softmax over the gallery.
        layout_temperature: Of that over the gallery's layouts.
    """

    triplet: float = 0.2
    compositionality: float = 0.1
    region_temperature: float = 0.1
    nce_temperature: float = 0.04
    layout_temperature: float = 0.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DuetFeatures:
    """Unit text features of one batch's prompts, named as in docs/papers.md, section 1.

    `q_delta`, `q_neutral` and `q_hand` are of the batch's first k references alone: a part of a
    batch is enough for their terms, and each of these prompts costs as much as the first two.

    Attributes:
        q: `T([P_L; s_w])`.
        q_words: `T([P_L; s_w; words])`, ours.
        q_delta: `T([P_L; s_w; delta_w])` with `delta = V(P+) - V(S)`.
        q_neutral: `T([P_L; s_w; N])`.
        q_hand: `T([P_F; s_w])`.
        layouts: Of the references, by the tuned tower; None where they were encoded before.
    """

    q: Float[Tensor, "n d"]
    q_words: Float[Tensor, "n d"]
    q_delta: Float[Tensor, "k d"]
    q_neutral: Float[Tensor, "k d"]
    q_hand: Float[Tensor, "k d"]
    layouts: Float[Tensor, "n c"] | None = None


class Banks:
    """What is made once: neutral phrases and hand-written prompts as ids."""

    def __init__(self, backbone: Backbone) -> None:
        """Tokenise the phrases."""
        self.neutral = [_ids(backbone, phrase) for phrase in NEUTRAL]
        self.hand = [_ids(backbone, phrase) for phrase in HAND_PROMPTS]


def encode_batch(
    model: DuetModel,
    batch: DuetBatch,
    gallery: GalleryFeatures,
    banks: Banks,
    rng: np.random.Generator,
    auxiliary_share: float = 1.0,
) -> DuetFeatures:
    """Encode the references with the tuned tower, and their prompts with the text tower.

    Every reference has two prompts; the first `auxiliary_share` of them, at least one, three more.
    """
    backbone = model.backbone
    references, layouts = batch.references, None
    if not isinstance(references, Tensor):
        encoding = model.encode_image(backbone.normalise_pixels(references))
        references, layouts = encoding.features, backbone.layouts(encoding)
    s_w = model.convert(references)  # n k w
    num_auxiliary = max(1, round(auxiliary_share * len(references)))
    photos = gallery.features[batch.anchors[:num_auxiliary].to(references.device)]
    delta_w = model.convert(photos - references[:num_auxiliary].float())
    hand = banks.hand[int(rng.integers(0, len(banks.hand)))]
    neutral = [banks.neutral[i] for i in rng.integers(0, len(banks.neutral), num_auxiliary)]
    silent: list[list[int]] = [[] for _ in range(len(references))]
    q, q_words, q_delta, q_neutral, q_hand = _encode_together(
        backbone,
        [
            assemble_prompts(backbone, prefix=model.prompt, pseudo=s_w, word_ids=silent),
            assemble_prompts(backbone, prefix=model.prompt, pseudo=s_w, word_ids=batch.word_ids),
            assemble_prompts(
                backbone,
                prefix=model.prompt,
                pseudo=torch.cat([s_w[:num_auxiliary], delta_w], dim=1),
                word_ids=silent[:num_auxiliary],
            ),
            assemble_prompts(
                backbone, prefix=model.prompt, pseudo=s_w[:num_auxiliary], word_ids=neutral
            ),
            assemble_prompts(
                backbone, prefix=hand, pseudo=s_w[:num_auxiliary], word_ids=silent[:num_auxiliary]
            ),
        ],
    )
    return DuetFeatures(
        q=q,
        q_words=q_words,
        q_delta=q_delta,
        q_neutral=q_neutral,
        q_hand=q_hand,
        layouts=layouts,
    )


def duet_terms(
    features: DuetFeatures, batch: DuetBatch, gallery: GalleryFeatures, margins: DuetMargins
) -> dict[str, Float[Tensor, ""]]:
    """Return the losses of `DuetWeights`, unweighted, under the same names.

    All but `L_rec` and the natural world's; `layout` only where the tower encoded the references.
    """
    q, device = features.q, features.q.device
    anchors = batch.anchors.to(device)
    photos = gallery.features[anchors]
    is_other_design = ~(batch.shows_design | batch.design_ignored)
    to_gallery = 1 - q @ gallery.features.T
    num_auxiliary = len(features.q_delta)
    delta_to_gallery = 1 - features.q_delta @ gallery.features.T
    to_photo, delta_to_photo = (
        distance(q, photos),
        distance(features.q_delta, photos[:num_auxiliary]),
    )
    others = ~torch.eye(num_auxiliary, dtype=torch.bool, device=device)
    terms = {
        "triplet": triplet(to_photo, to_gallery, is_other_design, margin=margins.triplet),
        "delta_triplet": triplet(
            delta_to_photo,
            delta_to_gallery,
            ~(batch.same_look | batch.design_ignored)[:num_auxiliary],
            margin=margins.triplet,
        ),
        "region": region_triplet(
            q[:num_auxiliary],
            gallery.regions[anchors[:num_auxiliary]].float(),
            others,
            margin=margins.triplet,
            temperature=margins.region_temperature,
        ),
        "compositionality": compositionality(
            to_photo[:num_auxiliary], delta_to_photo, margin=margins.compositionality
        ),
        "neutrality": neutrality(
            to_photo[:num_auxiliary], distance(features.q_neutral, photos[:num_auxiliary])
        ),
        "text_to_text": text_to_text(q[:num_auxiliary], features.q_hand),
        "words": multi_positive_nce(
            features.q_words @ gallery.features.T,
            batch.answers,
            batch.answer_ignored,
            temperature=margins.nce_temperature,
        ),
        "reference": multi_positive_nce(
            1 - to_gallery,
            batch.shows_design,
            batch.design_ignored,
            temperature=margins.nce_temperature,
        ),
    }
    if features.layouts is not None:
        terms["layout"] = multi_positive_nce(
            features.layouts.float() @ gallery.layouts.float().T,
            batch.shows_design,
            batch.design_ignored,
            temperature=margins.layout_temperature,
        )
    return terms


def _encode_together(
    backbone: Backbone, prompts: list[PromptBatch]
) -> tuple[Float[Tensor, "n d"], ...]:
    """Encode several prompts per reference, those of similar length in one pass."""
    longest = max(batch.embeddings.shape[1] for batch in prompts)
    end = backbone.token_table()[backbone.end_id]
    padded: list[Tensor] = []
    for batch in prompts:
        count, length, _ = batch.embeddings.shape
        padding = end.expand(count, longest - length, -1)
        padded.append(torch.cat([batch.embeddings, padding], dim=1))
    embeddings = torch.cat(padded)
    ends: Int[Tensor, " m"] = torch.cat([batch.end_positions for batch in prompts])

    def encode(group: Int[Tensor, " k"], most: int) -> Float[Tensor, "k d"]:
        return backbone.encode_embeddings(embeddings[group, :most], ends[group]).features

    features = encode_by_length(ends + 1, encode).float()
    return features.split([len(batch.end_positions) for batch in prompts])


def _ids(backbone: Backbone, text: str) -> list[int]:
    return [i for word in backbone.word_ids(text) for i in word]
