"""The plan keeps what the design promises: splits, colourways, cameras, ceilings."""

from collections import Counter

import numpy as np
import pytest

from assets.catalogue import plan
from assets.catalogue.camera import Camera, axes_of
from assets.catalogue.kinds import KINDS
from assets.catalogue.model import Shape
from assets.catalogue.words import KIND_NAMES, SEEN_KINDS, UNSEEN_KINDS, attribute_phrase
from assets.catalogue.words import finish_phrase as phrase


@pytest.fixture(scope="module")
def designs() -> dict[str, tuple[plan.Design, ...]]:
    return {name: plan.designs(name) for name in KINDS}


def _angle(a: Camera, b: Camera) -> float:
    cosine = float(axes_of(a)[2] @ axes_of(b)[2])
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _tests(designs: dict[str, tuple[plan.Design, ...]]) -> list[plan.Design]:
    held_out = (plan.Split.TEST, plan.Split.UNSEEN)
    return [d for rows in designs.values() for d in rows if d.split in held_out]


def test_all_kinds_are_there_in_the_order_of_the_lexicon() -> None:
    assert tuple(KINDS) == KIND_NAMES


def test_splits_have_the_promised_sizes(designs) -> None:
    counts = Counter(d.split for rows in designs.values() for d in rows)
    assert counts[plan.Split.TRAIN] == 6 * 120 + 10 * 60
    assert counts[plan.Split.VALIDATION] == 6 * len(SEEN_KINDS)
    assert counts[plan.Split.TEST] + counts[plan.Split.UNSEEN] == 300
    assert len({d.id for rows in designs.values() for d in rows}) == sum(counts.values())


def test_unseen_kinds_are_never_trained_on(designs) -> None:
    for name in UNSEEN_KINDS:
        assert {d.split for d in designs[name]} == {plan.Split.UNSEEN}


def test_a_plan_is_the_same_each_time(designs) -> None:
    assert plan.designs("mug") == designs["mug"]
    assert plan.shots(designs["mug"][30]) == plan.shots(designs["mug"][30])


def test_more_training_designs_leave_the_test_designs_alone(designs, monkeypatch) -> None:
    monkeypatch.setattr(plan, "NUM_TRAIN", plan.NUM_TRAIN + 3)
    more = plan.designs("bowl")
    assert more[: len(designs["bowl"])] == designs["bowl"]


def test_no_two_designs_of_a_kind_are_near_duplicates(designs) -> None:
    for rows in designs.values():
        for i, a in enumerate(rows[:40]):
            assert not any(plan.is_near(a.shape, b.shape) for b in rows[:i])


def test_near_means_same_choices_and_nearly_same_proportions() -> None:
    def shape(height: float, back: str) -> Shape:
        return Shape(kind="chair", values={"height": height, "back": back}, words=())

    assert plan.is_near(shape(1.0, "slats"), shape(1.02, "slats"))
    assert not plan.is_near(shape(1.0, "slats"), shape(1.2, "slats"))
    assert not plan.is_near(shape(1.0, "slats"), shape(1.0, "solid"))


def test_each_colourway_is_worn_by_at_least_six_test_designs(designs) -> None:
    for name in KINDS:
        tests = [d for d in _tests(designs) if d.kind == name]
        worn = Counter(c for d in tests for c in d.colourways)
        assert len(tests) == 15
        assert set(worn) == set(range(8))
        assert min(worn.values()) >= 6


def test_the_drawing_alone_cannot_pass_a_quarter(designs) -> None:
    tests = _tests(designs)
    pictures = sum(len(d.colourways) for d in tests)
    assert pictures == 1200
    assert all(len(set(d.colourways)) == 4 for d in tests)
    assert len(tests) / pictures == 0.25


def test_the_words_alone_cannot_pass_seventeen_percent(designs) -> None:
    counts = Counter()
    for d in _tests(designs):
        for c in d.colourways:
            finishes = KINDS[d.kind].colourways[c].finishes
            pairs = [(p, phrase(f.colour, f.material, f.pattern)) for p, f in finishes]
            counts[d.kind, attribute_phrase(pairs)] += 1
    # At best a searcher knows the kind too, and then hits one of all that wear the same.
    assert len(counts) / sum(counts.values()) <= 1 / 6


def test_a_test_design_has_one_camera_and_its_sketch_another(designs) -> None:
    for d in _tests(designs):
        (camera,) = {shot.view.camera for shot in plan.shots(d)}
        for skill in plan.SKILLS:
            assert 4.99 <= _angle(camera, plan.sketch_camera(d, skill)) <= 15.01


def test_training_sketches_stay_near_and_views_differ(designs) -> None:
    train = [d for d in designs["chair"] if d.split is plan.Split.TRAIN][:30]
    for d in train:
        shots = plan.shots(d)
        assert len(shots) == 8
        assert len({shot.view.camera for shot in shots}) == 8
        assert len({shot.id for shot in shots}) == 8
        assert _angle(plan.camera_of(d), plan.sketch_camera(d, 1)) <= 15.01


def test_only_every_second_view_of_a_training_colourway_is_reframed(designs) -> None:
    usual = Camera(azimuth=0, elevation=0).margin
    for d in designs["bowl"]:
        margins = [shot.view.camera.margin for shot in plan.shots(d)]
        if d.split is not plan.Split.TRAIN:
            assert set(margins) == {usual}
            continue
        assert set(margins[::2]) == {usual}
        assert len(set(margins[1::2])) == 4
        assert all(plan.MARGINS[0] <= m <= plan.MARGINS[1] for m in margins[1::2])


def test_turning_a_camera_turns_it_by_the_angle() -> None:
    rng = np.random.default_rng(0)
    for degrees in (0.0, 5.0, 12.0):
        camera = Camera(azimuth=-40.0, elevation=25.0)
        turned = plan.turned(camera, degrees, rng)
        assert _angle(camera, turned) == pytest.approx(degrees, abs=1e-4)


def test_skills_of_the_benchmark_are_all_in_use(designs) -> None:
    skills = Counter(plan.skill_of(d) for d in _tests(designs))
    assert min(skills[s] for s in plan.SKILLS) > 60


def test_any_beginning_of_a_catalogue_is_balanced() -> None:
    first = plan.catalogue(plan.Split.TEST, plan.Split.UNSEEN)[: len(KINDS)]
    assert {d.kind for d in first} == set(KINDS)
