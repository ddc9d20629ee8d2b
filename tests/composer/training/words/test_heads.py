from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from composer.training.words.contrast import ContrastLoss, Draw, Drawer, LossWeights
from composer.training.words.heads import Example, TeacherHead, examples, fit_kernel
from composer.training.words.learned_table import learned_names
from composer.training.words.teacher import TeacherRecipe, fit_teacher
from tests.composer.training.words.tiny_world import WIDTH, sentences, tiny_concepts

RECIPE = TeacherRecipe(num_steps=60, max_centres=100)


def test_every_text_is_one_example_with_the_mean_of_its_pictures():
    by_text = {sample.text: sample for sample in examples(tiny_concepts())}
    half = 0.5**0.5
    assert by_text["a pet"].target.tolist() == pytest.approx([half, half, 0, 0, 0])
    # A class weighs 1 over its two texts, its definition half of that together.
    assert by_text["cat"].weight == pytest.approx(0.5)
    assert by_text["a feline"].weight == pytest.approx(0.5)
    assert by_text["the dark sea"].weight == pytest.approx(0.25)


def test_the_kernel_solves_its_ridge_regression():
    """Against the textbook solution with the weights as a diagonal matrix."""
    generator = torch.Generator().manual_seed(0)
    points = functional.normalize(torch.randn(7, WIDTH, generator=generator), dim=-1)
    targets = functional.normalize(torch.randn(7, 3, generator=generator), dim=-1)
    weights = torch.rand(7, generator=generator) + 0.5
    samples = [
        Example(text=str(i), target=t, weight=float(w))
        for i, (t, w) in enumerate(zip(targets, weights, strict=True))
    ]
    head = fit_kernel(points, samples, gamma=2.0, ridge=0.3, max_centres=10)
    kernel = torch.exp(2 * (points @ points.T - 1))
    mean = (weights[:, None] * targets).sum(0) / weights.sum()
    inverse = torch.linalg.inv(torch.diag(weights) @ kernel + 0.3 * torch.eye(7))
    factors = inverse @ torch.diag(weights) @ (targets - mean)
    expected = functional.normalize(kernel @ factors + mean, dim=-1)
    torch.testing.assert_close(head(points), expected, atol=1e-4, rtol=0)


def test_the_teacher_points_names_at_their_pictures_and_comes_back(tmp_path: Path):
    concepts = tiny_concepts()
    head = fit_teacher(concepts, sentences, RECIPE)
    answers = head(sentences(["cat", "a photo of a dog", "a boat", "the dark sea"]))
    assert (answers @ concepts.features.T).argmax(1).tolist() == [0, 1, 3, 4]
    again = fit_teacher(concepts, sentences, RECIPE)(sentences(["a red boat"]))
    head.save(tmp_path / "teacher.safetensors")
    back = TeacherHead.load(tmp_path / "teacher.safetensors")(sentences(["a red boat"]))
    torch.testing.assert_close(back, again)


def test_the_contrast_is_the_cross_entropy_against_what_may_be_told_apart():
    concepts = tiny_concepts()
    draws = [
        Draw(text="cat", row=0, concept=0),
        Draw(text="boat", row=3, concept=3),
        Draw(text="a boat", row=3, concept=3),
        Draw(text="the dark sea", row=4, concept=4),
    ]
    features = functional.normalize(
        torch.tensor([[1.0, 1, 5, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]), dim=-1
    )
    scale = torch.tensor(2.0)
    weights = LossWeights(contrast=1.0, regression=0.0)
    found = ContrastLoss(concepts)(features, draws, scale, weights)
    # The cat is as near to dog as to cat; the owl it is nearest to is barred.
    naming = np.log(2)
    h = 2 * 0.5**0.5
    # Texts to pictures (boat, boat, sea): both boats are right for a boat.
    rows = [(2, 2, 0), (h, h, h), (0, 0, 2)]
    right = [(0, 1), (0, 1), (2,)]
    columns = [(2, h, 0), (2, h, 0), (0, h, 2)]

    def loss(lines: list[tuple[float, ...]]) -> float:
        each = [
            np.log(np.exp(line).sum()) - np.log(np.exp([line[i] for i in good]).sum())
            for line, good in zip(lines, right, strict=True)
        ]
        return float(np.mean(each))

    assert float(found) == pytest.approx(naming + loss(rows) + loss(columns), abs=1e-5)


def test_the_regression_weighs_concepts_by_kind():
    draws = [Draw(text="boat", row=3, concept=3), Draw(text="the dark sea", row=4, concept=4)]
    features = torch.eye(5)[[3, 3]]  # the boat is right, the sea (half its weight) is all wrong
    found = ContrastLoss(tiny_concepts())(
        features, draws, torch.tensor(1.0), LossWeights(contrast=0.0, regression=3.0)
    )
    assert float(found) == pytest.approx(3 * 0.5 / 1.5)


def test_what_things_are_kinds_of_is_known_but_never_the_closest_name():
    concepts = tiny_concepts()
    table = learned_names(concepts, lambda texts: -torch.ones(len(texts), 5))
    assert table.knows("pets")
    pet = concepts.target(concepts.items[2])
    assert set(table.closest(pet, count=2)) == {"cat", "dog"}
    assert table.closest(torch.eye(5)[0], count=1) == ("cat",)


def test_draws_keep_to_their_concept_and_to_the_seed():
    concepts = tiny_concepts()
    draws = Drawer(concepts).draw(np.random.default_rng(0))
    for draw in draws:
        item = concepts.items[draw.concept]
        assert draw.row in item.rows
        assert draw.text in (*item.texts, *item.glosses)
    assert {draw.concept for draw in draws} == {0, 1, 2, 3, 4}
    assert draws == Drawer(concepts).draw(np.random.default_rng(0))
    assert len(Drawer(concepts, times=3).draw(np.random.default_rng(0))) == 3 * len(draws)
