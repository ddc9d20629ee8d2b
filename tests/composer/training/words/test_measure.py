from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from composer.data import heldout
from composer.training.words import report
from composer.training.words.bank import PhotoHead, PooledSet
from composer.training.words.lessons import Lessons, LessonSource
from composer.training.words.measure import (
    average_precision,
    bootstrap,
    caption_ranks,
    recall,
    score_classes,
)
from composer.training.words.report import HeldOutPhotos, caption_rows, class_rows, frequency_rows
from composer.training.words.wordings import WORDINGS


def test_average_precision_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    right = np.array([True, False, True, False])
    assert average_precision(scores, right) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, right, cut=2) == pytest.approx(1 / 2)
    assert average_precision(scores, right, cut=1) == pytest.approx(1.0)
    assert average_precision(scores, np.zeros(4, dtype=bool)) == 0.0


def test_ties_count_against_it():
    right = np.array([True, False])
    assert average_precision(np.array([0.5, 0.5]), right) == pytest.approx(0.5)
    ranks = caption_ranks(torch.ones(1, 2), [0], torch.ones(3, 2))
    assert ranks.tolist() == [3]


def test_classes_and_captions_are_scored_by_their_own_pictures():
    gallery = torch.eye(3)[[0, 1, 1]]
    scores = score_classes(torch.eye(3)[:2], [("b", "?"), ("a", "!")], gallery, ["a", "b", "b"])
    # "b" is asked with the direction of "a": its two are at the second and third place.
    assert [s.average_precision for s in scores] == pytest.approx([(1 / 2 + 2 / 3) / 2, 1 / 3])
    ranks = caption_ranks(torch.eye(3), [0, 1, 1], torch.eye(3))
    assert ranks.tolist() == [1, 1, 3]
    assert recall(ranks, 1) == pytest.approx(2 / 3)


def test_the_interval_holds_the_mean_and_follows_the_seed():
    values = [0.0, 1.0] * 50
    low, high = bootstrap(values)
    assert 0.38 < low < 0.5 < high < 0.62
    assert bootstrap(values) == (low, high)
    assert bootstrap([0.3] * 9) == pytest.approx((0.3, 0.3))


def test_there_are_other_words_for_every_held_out_class_and_none_names_it():
    assert set(WORDINGS) == heldout.SKETCHY_CLASSES
    for name, wording in WORDINGS.items():
        words = name.replace("_", " ").split("-")[0]
        assert words not in wording.description
        assert words not in (wording.synonym or "").split()


class Oracle:
    """Knows which axis a text means; everything else is the first."""

    def __init__(self, axes: dict[str, int]) -> None:
        self.axes = axes

    def __call__(self, texts: Sequence[str]) -> Tensor:
        found = [next((i for w, i in self.axes.items() if w in text), 0) for text in texts]
        return torch.eye(4)[found]


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> HeldOutPhotos:
    monkeypatch.setattr(report, "GALLERY_SIZE", 2)
    names = [f"{i}.jpg" for i in range(40)]
    kept = next(name for name in names if heldout.flickr_is_held_out(name))
    other = next(name for name in names if not heldout.flickr_is_held_out(name))
    bank = {
        "sketchy": PooledSet(
            names=("x/owl/1.jpg", "x/dog/1.jpg", "x/axe/1.jpg", "x/owl/2.jpg"),
            pooled=torch.eye(4)[[0, 3, 1, 0]],
        ),
        "flickr": PooledSet(names=(other, kept), pooled=torch.eye(4)[[3, 2]]),
    }
    head = PhotoHead(weight=torch.eye(4), bias=torch.zeros(4))
    return HeldOutPhotos.read(bank, head, {kept: ("a girl", "someone"), other: ("a dog",)})


def test_only_what_was_held_out_is_asked_for(photos: HeldOutPhotos):
    assert photos.labels == ("owl", "axe", "owl")
    assert photos.captions == (("a girl", "someone"),)
    assert photos.captioned.argmax(1).tolist() == [2, 3]


def test_rows_tell_names_other_words_and_captions(photos: HeldOutPhotos):
    oracle = Oracle({"owl": 0, "axe": 1, "hatchet": 3, "chopping": 1, "girl": 2})
    values = {row.what: row for row in class_rows("student", oracle, photos)}
    assert values["class names to photos, mAP@200"].value == pytest.approx(100)
    # "hatchet" says another axis: all three tie, and the axe comes last.
    synonyms = values["synonyms to photos, mAP@200"]
    assert (synonyms.value, synonyms.queries) == (pytest.approx(100 / 3), 1)
    assert values["descriptions to photos, mAP@200"].queries == 2
    first, tenth = caption_rows("student", oracle, photos)
    assert (first.value, first.queries) == (pytest.approx(50), 2)
    assert tenth.value == pytest.approx(100)
    assert "R@10 of 2 photos" in str(tenth)


def test_agreement_with_the_teacher_is_told_by_how_common_a_noun_is(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(report, "FREQUENCY_BINS", (1,))
    lessons = Lessons(
        texts=("dog", "newt"),
        sources=(LessonSource.NOUN, LessonSource.NOUN),
        targets=torch.eye(4)[[1, 2]],
    )
    rows = frequency_rows(Oracle({"dog": 1}), lessons, ["dog", "newt", "unheard"])
    assert [(row.value, row.queries) for row in rows] == [(100, 1), (0, 1)]
    assert rows[1].what.endswith("nouns 1 to 3")
