"""Learning-rate schedules at points worked out by hand."""

import pytest

from composer.training.schedules import warmup_and_line, warmup_hold_cosine, warmup_then_cosine


def test_a_cosine_follows_the_warm_up():
    factors = [warmup_then_cosine(progress) for progress in (0.0, 0.015, 0.03, 0.515, 1.0)]
    assert factors == pytest.approx([0.02, 0.5, 1.0, 0.51, 0.02])


@pytest.mark.parametrize(
    ("step", "progress", "factor"),
    [
        (0, 0.0, 0.1),
        (9, 0.1, 1.0),
        (50, 0.5, 1.0),
        (85, 0.85, 0.5),
        (100, 1.0, 0.0),
        (4, 0.85, 0.25),
    ],
)
def test_the_rate_holds_between_warm_up_and_cosine(step, progress, factor):
    value = warmup_hold_cosine(step, progress, num_warmup_steps=10, decay_share=0.3)
    assert value == pytest.approx(factor)


def test_a_run_without_warm_up_starts_at_the_whole_rate():
    assert warmup_hold_cosine(0, 0.0, num_warmup_steps=0, decay_share=0.3) == 1.0


@pytest.mark.parametrize(
    ("step", "fall", "factor"),
    [(0, 0.0, 0.25), (3, 0.0, 1.0), (9, 0.5, 0.5), (9, 1.0, 0.02), (0, 0.9, 0.1)],
)
def test_the_smaller_of_warm_up_and_line_holds(step, fall, factor):
    assert warmup_and_line(step, fall, num_warmup_steps=4) == pytest.approx(factor)
