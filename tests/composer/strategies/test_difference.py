"""Differences of examples from photographs: what is kept, what is taken away, what is found."""

import pytest
import torch
from torch.nn import functional

from composer.errors import InputError
from composer.strategies.difference import (
    DifferenceSettings,
    invert_difference,
    picture_difference,
)
from tests.composer.tiny import JOINT_DIM, tiny_backbone

SHORT = DifferenceSettings(max_steps=80, patience=20, num_tokens=2)


def unit(*values):
    vector = torch.zeros(JOINT_DIM)
    for index, value in enumerate(values):
        vector[index] = value
    return functional.normalize(vector, dim=-1)


def photographs(*, style: float = 0.0):
    """Twelve photographs of six kinds, a direction each (3 to 8); direction 1 is their medium."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for kind in [*range(3, 9)] * 2:
        row = 0.02 * torch.randn(JOINT_DIM, generator=generator)
        row[0], row[kind], row[1] = 1.0, 0.8, style
        rows.append(functional.normalize(row, dim=-1))
    return torch.stack(rows)


def test_the_kind_of_the_examples_is_taken_away_and_their_look_is_kept():
    photos = photographs()
    of_one_kind = photographs(style=0.7)[[0, 6]]  # direction 3, as no mean of photographs is
    plain = picture_difference(of_one_kind, photos, same_subject=True)
    shrunk = picture_difference(of_one_kind, photos, same_subject=False)
    assert plain[3] > 0.35
    assert shrunk[3].abs() < 0.5 * plain[3]
    assert shrunk[1] > 0.9 * plain[1]
    look = unit(0, 1.0)
    kept = functional.cosine_similarity(torch.stack([plain, shrunk]), look[None], dim=-1)
    assert kept[1] > kept[0] + 0.1


def test_photographs_of_the_same_subject_are_compared_as_they_are():
    photos, examples = photographs(), photographs(style=0.5)
    difference = picture_difference(examples[[0, 6]], photos[[0, 6]], same_subject=True)
    assert torch.equal(difference, examples[[0, 6]].mean(dim=0) - photos[[0, 6]].mean(dim=0))


def test_few_photographs_say_nothing_of_their_spread():
    photos, examples = photographs()[:4], photographs(style=0.5)
    difference = picture_difference(examples, photos, same_subject=False)
    assert torch.equal(difference, examples.mean(dim=0) - photos.mean(dim=0))


def test_examples_like_any_photograph_are_refused():
    photos = photographs()
    with pytest.raises(InputError, match="do not differ from the photographs"):
        picture_difference(photos, photos, same_subject=False)


@pytest.fixture(scope="module")
def difference():
    backbone = tiny_backbone()
    with torch.no_grad():
        there, here = backbone.encode_text(["a red oak chair", "a photo of a blue"]).float()
    return there - here


def test_the_search_moves_subjects_by_the_difference_and_repeats(difference):
    backbone = tiny_backbone()
    found = invert_difference(backbone, difference, SHORT)
    assert found.cosine > found.cosine_before + 0.05
    assert found.tokens.shape == (2, backbone.token_width)
    assert not found.tokens.requires_grad
    with torch.inference_mode():
        again = invert_difference(backbone, difference, SHORT)
    assert torch.equal(found.tokens, again.tokens)


def test_a_start_is_never_made_worse(difference):
    backbone = tiny_backbone()
    first = invert_difference(backbone, difference, SHORT)
    second = invert_difference(backbone, difference, SHORT, start=first.tokens)
    assert second.cosine_before == pytest.approx(first.cosine, abs=1e-5)
    assert second.cosine >= first.cosine - 1e-6


def test_progress_counts_to_the_end_and_may_stop_the_search(difference):
    steps = []
    settings = DifferenceSettings(max_steps=60, patience=10, tolerance=1.0, num_tokens=1)
    found = invert_difference(
        tiny_backbone(),
        difference,
        settings,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert found.num_steps == 10
    assert steps == [*((step, 60) for step in range(1, 11)), (60, 60)]

    def stop(done, _total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert_difference(tiny_backbone(), difference, SHORT, on_step=stop)


def test_a_prompt_without_room_is_refused(difference):
    settings = DifferenceSettings(num_tokens=20)
    with pytest.raises(InputError, match="has no room for 20 tokens"):
        invert_difference(tiny_backbone(), difference, settings)
