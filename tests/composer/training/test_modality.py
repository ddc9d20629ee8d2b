"""Modality vectors: what they mean, every loss against a hand-made case, and a run."""

import math
from dataclasses import fields

import pytest
import torch
from torch.nn.functional import normalize

from composer.strategies.modality import Modality, ModalityModel, mix
from composer.training.loop import Budget
from composer.training.modality import (
    ModalityFeatures,
    ModalityTraining,
    ModalityWeights,
    modality_terms,
    modality_trainer,
)
from composer.training.pairs import PairSources
from composer.training.trainer import RunSettings
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import JOINT_DIM, tiny_backbone, write_clip


def model_with(vectors):
    model = ModalityModel(tiny_backbone())
    with torch.no_grad():
        model.vectors.copy_(torch.stack([vectors[m] for m in Modality]))
    return model


@pytest.fixture
def axes():
    eye = torch.eye(JOINT_DIM)
    return {Modality.PHOTO: eye[0], Modality.SKETCH: eye[1], Modality.TEXT: eye[2]}


def test_converting_takes_one_vector_off_and_puts_the_other_on(axes):
    model, eye = model_with(axes), torch.eye(JOINT_DIM)
    drawn = normalize(eye[5] + eye[1], dim=0)
    converted = model.convert(drawn, Modality.SKETCH, Modality.PHOTO)
    expected = normalize(drawn - eye[1] + eye[0], dim=0)
    torch.testing.assert_close(converted, expected)
    torch.testing.assert_close(model.convert(drawn, Modality.SKETCH, Modality.SKETCH), drawn)


def test_a_mixture_moves_from_the_reference_to_the_words():
    a, b = torch.eye(JOINT_DIM)[:2]
    torch.testing.assert_close(mix(a, b, 0.0), a)
    torch.testing.assert_close(mix(a, b, 1.0), b)
    torch.testing.assert_close(
        mix(a, b, 0.25), normalize(torch.tensor([3.0, 1.0]), dim=0) @ torch.stack([a, b])
    )


def test_features_that_are_meaning_plus_modality_cost_nothing_in_reconstruction(axes):
    """s_text + m_image is the image and s_image + m_text the text, by construction."""
    model = model_with({m: 0.5 * v for m, v in axes.items()})
    meaning = torch.zeros(JOINT_DIM)
    meaning[7] = math.sqrt(1 - 0.25)
    z = {m: (meaning + 0.5 * v).unsqueeze(0) for m, v in axes.items()}
    features = ModalityFeatures(
        sketches=z[Modality.SKETCH], photos=z[Modality.PHOTO], texts=z[Modality.TEXT],
        classes=torch.tensor([0]),
    )  # fmt: skip
    terms = modality_terms(model, features, torch.tensor(10.0))
    assert terms["reconstruction"].item() == pytest.approx(0, abs=1e-6)
    # One class alone: every candidate is right.
    assert terms["contrastive"].item() == pytest.approx(0, abs=1e-5)
    # The middle of meaning + m/2 and meaning + m'/2 against the meaning itself.
    middle = normalize(meaning + 0.25 * (axes[Modality.SKETCH] + axes[Modality.TEXT]), dim=0)
    cosine = (normalize(meaning, dim=0) @ middle).item()
    assert terms["semantic"].item() == pytest.approx(2 * (1 - cosine), abs=1e-5)


def test_captions_of_one_class_are_no_negatives_of_each_other(axes):
    model, eye = model_with(axes), torch.eye(JOINT_DIM)
    images, texts = eye[[4, 4, 5]], eye[[4, 4, 5]]
    features = ModalityFeatures(
        sketches=images, photos=images, texts=texts, classes=torch.tensor([0, 0, 1])
    )
    scale = torch.tensor(3.0)
    result = modality_terms(model, features, scale)["contrastive"].item()
    # Rows of class 0 see 3, 3, 0, either of the first two right; the row of class 1 sees 0, 0, 3.
    double = -math.log(math.exp(3) / (2 * math.exp(3) + 1))
    single = -math.log(math.exp(3) / (2 + math.exp(3)))
    assert result == pytest.approx((2 * double + single) / 3, rel=1e-5)


def test_the_classifier_is_asked_for_the_modality_converted_to(axes):
    model, eye = model_with(axes), torch.eye(JOINT_DIM)
    z = normalize(0.2 * eye[[8]], dim=-1)
    features = ModalityFeatures(sketches=z, photos=z, texts=z, classes=torch.tensor([0]))
    with torch.no_grad():
        model.classifier.bias.zero_()
        model.classifier.weight.copy_(100 * torch.stack([axes[m] for m in Modality]))
    assert modality_terms(model, features, torch.tensor(1.0))["classification"].item() < 1e-3
    with torch.no_grad():
        model.classifier.weight.mul_(-1)
    assert modality_terms(model, features, torch.tensor(1.0))["classification"].item() > 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("modality")
    write_clip(root / "clip", image_px=128)
    write_pack(root / "pack")
    return root


def trainer_of(folder, tmp_path, num_steps, weights=None):
    sources = PairSources(clip=folder / "clip", pack=folder / "pack", num_classes=2, per_class=2)
    recipe = ModalityTraining(sources=sources, weights=weights or ModalityWeights())
    settings = RunSettings(
        output=tmp_path / "modality.safetensors", state=tmp_path / "state", device="cpu",
        budget=Budget(num_steps=num_steps), validate_every=num_steps,
    )  # fmt: skip
    return modality_trainer(recipe, settings)


def test_a_run_learns_everything_of_its_own_and_its_file_serves(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path, 30)
    start = {n: p.detach().clone() for n, p in trainer.objective.trainable_state().items()}
    first = sum(trainer.train_step()["instance"] for _ in range(5))
    scores = trainer.run()
    last = sum(trainer.train_step()["instance"] for _ in range(5))
    assert last < first
    still = [n for n, p in trainer.objective.trainable_state().items() if torch.equal(p, start[n])]
    assert not still
    loaded = ModalityModel.load(tmp_path / "modality.safetensors", trainer.objective.backbone)
    assert loaded.words_share == scores.share


@pytest.mark.parametrize("name", [f.name for f in fields(ModalityWeights)])
def test_every_term_has_its_own_switch(folder, tmp_path, name):
    alone = ModalityWeights(**{f.name: float(f.name == name) for f in fields(ModalityWeights)})
    losses = trainer_of(folder, tmp_path, 1, alone).objective.losses(0, 0)
    assert set(losses.terms) == {f.name for f in fields(ModalityWeights)}
    assert losses.total.item() == pytest.approx(losses.terms[name].item(), rel=1e-5)
