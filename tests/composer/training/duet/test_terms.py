"""The terms of the duet's loss, and what each of them trains."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from composer.data.duet_batches import DuetBatches
from composer.strategies.duet import DuetModel
from composer.training.decoder import PICTURE_PX, Decoder, reconstruction
from composer.training.duet_objective import (
    Banks,
    DuetMargins,
    DuetWeights,
    duet_terms,
    encode_batch,
)
from composer.training.losses import weighted_sum
from composer.training.phrases import HAND_PROMPTS, NEUTRAL
from tests.composer.training.duet.runs import encoded_by


def test_banks_have_the_sizes_of_the_paper():
    assert len(NEUTRAL) == len(set(NEUTRAL)) == 100
    assert all(3 <= len(phrase.split()) <= 6 for phrase in NEUTRAL)
    assert len(HAND_PROMPTS) == len(set(HAND_PROMPTS)) >= 5


def test_every_term_trains_and_only_what_it_should(pack, gallery, backbone):
    torch.manual_seed(0)
    model = DuetModel(backbone)
    batch = DuetBatches(pack, gallery, backbone).draw(0, 8)
    bank, rng = Banks(backbone), np.random.default_rng(0)
    features = encode_batch(model, batch, gallery, bank, rng)
    terms = duet_terms(features, batch, gallery, DuetMargins())
    elsewhere = {"reconstruction", "natural"}
    assert set(terms) == {field.name for field in fields(DuetWeights)} - elsewhere
    only = DuetWeights(**{name: float(name == "words") for name in terms})
    assert weighted_sum(terms, only).item() == pytest.approx(terms["words"].item())
    weighted_sum(terms, DuetWeights()).backward()
    for name, parameter in model.trainable_state().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    touched = [n for n, p in model.trainable_state().items() if p.grad.abs().sum() > 0]
    assert len(touched) == len(model.trainable_state())
    assert all(p.grad is None for p in backbone.model.parameters())


def test_half_precision_ends_where_the_losses_begin(pack, gallery, backbone):
    model, rng = DuetModel(backbone), np.random.default_rng(0)
    batch = DuetBatches(pack, gallery, backbone).draw(0, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encode_batch(model, batch, gallery, Banks(backbone), rng)
    terms = duet_terms(features, batch, gallery, DuetMargins())
    assert {value.dtype for value in terms.values()} == {torch.float32}


def test_auxiliary_prompts_may_be_read_for_a_part_of_the_batch(pack, gallery, backbone):
    model = DuetModel(backbone)
    batch = DuetBatches(pack, gallery, backbone).draw(0, 8)
    bank = Banks(backbone)
    whole, part = (
        encode_batch(model, batch, gallery, bank, np.random.default_rng(0), share)
        for share in (1.0, 0.25)
    )
    assert len(part.q) == len(part.q_words) == len(whole.q_hand) == 8
    for name in ("q_delta", "q_hand"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[:2])
    terms = duet_terms(part, batch, gallery, DuetMargins())
    same = duet_terms(whole, batch, gallery, DuetMargins())
    assert terms["reference"].item() == pytest.approx(same["reference"].item(), rel=1e-4)
    assert all(torch.isfinite(value) for value in terms.values())


def test_layouts_are_compared_only_where_the_tower_saw(pack, gallery, backbone):
    model, bank = DuetModel(backbone), Banks(backbone)
    batches = DuetBatches(pack, gallery, backbone)
    encoded = encoded_by(model, pack, batches, gallery, backbone)
    for batch, is_seen in ((batches.draw(0, 8), True), (batches.draw(0, 8, encoded), False)):
        features = encode_batch(model, batch, gallery, bank, np.random.default_rng(0))
        terms = duet_terms(features, batch, gallery, DuetMargins())
        assert ("layout" in terms) == is_seen
        if is_seen:
            terms["layout"].backward()
            state = model.trainable_state().items()
            touched = {n.split(".")[0] for n, p in state if p.grad is not None and p.grad.any()}
            assert touched == {"layer_norms"}


def test_the_decoder_makes_pictures_within_the_range_of_levels():
    pictures = Decoder(24)(10 * torch.randn(2, 24))
    assert pictures.shape == (2, 3, PICTURE_PX, PICTURE_PX)
    assert 0 <= pictures.min() < pictures.max() <= 1


def test_reconstruction_by_hand():
    class Grey(Decoder):
        def forward(self, features):
            return features[:, :1, None, None].expand(-1, 3, 64, 64)

    photos = torch.full((2, 3, 64, 64), 0.5)
    alone, whole = torch.tensor([[0.1], [0.3]]), torch.tensor([[0.5], [0.6]])
    loss = reconstruction(Grey(1), photos, alone, whole).item()
    assert loss == pytest.approx((0.4 + 0.2) / 2 + (0.0 + 0.1) / 2, abs=1e-6)
