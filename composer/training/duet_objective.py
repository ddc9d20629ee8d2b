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
from composer.vision import in_order, rows_by_medium


@dataclass(frozen=True, kw_only=True, slots=True)
class DuetWeights:
    """Weight of every term; zero switches a term off and saves its prompts.

    The first seven are the paper's six losses; the last four are ours: the catalogue has captions,
    which the paper's data had not. `layout` needs steps through the tower.

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
        natural: InfoNCE of references of the natural world, some with words, against its pictures.
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
    natural: float = 0.5


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
    references, layouts = _encode_references(model, batch)
    s_w = model.convert(references)  # n k w
    num_auxiliary = max(1, round(auxiliary_share * len(references)))
    photos = gallery.features[batch.anchors[:num_auxiliary].to(references.device)]
    delta_w = model.convert(photos - references[:num_auxiliary].float())
    prompts = _prompts(model, batch, banks, rng, s_w=s_w, delta_w=delta_w)
    q, q_words, q_delta, q_neutral, q_hand = _encode_together(model.backbone, prompts)
    return DuetFeatures(
        q=q,
        q_words=q_words,
        q_delta=q_delta,
        q_neutral=q_neutral,
        q_hand=q_hand,
        layouts=layouts,
    )


def _encode_references(
    model: DuetModel, batch: DuetBatch
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n c"] | None]:
    """Return features and layouts of the references, each seen as what it is.

    Those encoded before have no layouts.
    """
    if isinstance(batch.references, Tensor):
        return batch.references, None
    pixels = model.backbone.normalise_pixels(batch.references)
    rows = rows_by_medium(batch.is_photo.to(pixels.device))
    seen = [model.encode_image(pixels[chosen], medium) for medium, chosen in rows.items()]
    chosen = list(rows.values())
    features = in_order([encoding.features for encoding in seen], chosen)
    return features, in_order([model.backbone.layouts(encoding) for encoding in seen], chosen)


def _prompts(
    model: DuetModel,
    batch: DuetBatch,
    banks: Banks,
    rng: np.random.Generator,
    *,
    s_w: Float[Tensor, "n k w"],
    delta_w: Float[Tensor, "m k w"],
) -> list[PromptBatch]:
    """Return the prompts of `DuetFeatures`, in its order; the last three of m references."""
    num_auxiliary = len(delta_w)
    hand = banks.hand[int(rng.integers(0, len(banks.hand)))]
    neutral = [banks.neutral[i] for i in rng.integers(0, len(banks.neutral), num_auxiliary)]
    silent: list[list[int]] = [[] for _ in range(len(s_w))]
    few, few_silent = s_w[:num_auxiliary], silent[:num_auxiliary]
    completed = torch.cat([few, delta_w], dim=1)
    contents = (
        (model.prompt, s_w, silent),
        (model.prompt, s_w, batch.word_ids),
        (model.prompt, completed, few_silent),
        (model.prompt, few, neutral),
        (hand, few, few_silent),
    )
    return [
        assemble_prompts(model.backbone, prefix=prefix, pseudo=pseudo, word_ids=word_ids)
        for prefix, pseudo, word_ids in contents
    ]


def duet_terms(
    features: DuetFeatures, batch: DuetBatch, gallery: GalleryFeatures, margins: DuetMargins
) -> dict[str, Float[Tensor, ""]]:
    """Return the losses of `DuetWeights`, unweighted, under the same names.

    All but `L_rec` and the natural world's; `layout` only where the tower encoded the references.
    """
    paper = _paper_terms(features, batch, gallery, margins)
    return paper | _contrastive_terms(features, batch, gallery, margins)


def _paper_terms(
    features: DuetFeatures, batch: DuetBatch, gallery: GalleryFeatures, margins: DuetMargins
) -> dict[str, Float[Tensor, ""]]:
    """Return the paper's losses; all but the first two are of the first k references."""
    device, num_auxiliary = features.q.device, len(features.q_delta)
    anchors = batch.anchors.to(device)
    photos = gallery.features[anchors]
    to_photo = distance(features.q, photos)
    delta_to_photo = distance(features.q_delta, photos[:num_auxiliary])
    neutral_to_photo = distance(features.q_neutral, photos[:num_auxiliary])
    is_other_look = ~(batch.same_look | batch.design_ignored)[:num_auxiliary]
    q = features.q[:num_auxiliary]
    return {
        "triplet": triplet(
            to_photo,
            1 - features.q @ gallery.features.T,
            ~(batch.shows_design | batch.design_ignored),
            margin=margins.triplet,
        ),
        "delta_triplet": triplet(
            delta_to_photo,
            1 - features.q_delta @ gallery.features.T,
            is_other_look,
            margin=margins.triplet,
        ),
        "region": region_triplet(
            q,
            gallery.regions[anchors[:num_auxiliary]].float(),
            ~torch.eye(num_auxiliary, dtype=torch.bool, device=device),
            margin=margins.triplet,
            temperature=margins.region_temperature,
        ),
        "compositionality": compositionality(
            to_photo[:num_auxiliary], delta_to_photo, margin=margins.compositionality
        ),
        "neutrality": neutrality(to_photo[:num_auxiliary], neutral_to_photo),
        "text_to_text": text_to_text(q, features.q_hand),
    }


def _contrastive_terms(
    features: DuetFeatures, batch: DuetBatch, gallery: GalleryFeatures, margins: DuetMargins
) -> dict[str, Float[Tensor, ""]]:
    """Return the InfoNCE losses over the gallery."""
    terms = {
        "words": multi_positive_nce(
            features.q_words @ gallery.features.T,
            batch.answers,
            batch.answer_ignored,
            temperature=margins.nce_temperature,
        ),
        "reference": multi_positive_nce(
            features.q @ gallery.features.T,
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
