import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from composer.sketch import Sketch
from generation import benchmark
from generation.benchmark import CONDITIONS, DrawingCase, Outcome, outcomes, with_token
from generation.judge import ColourModel, Judge, JudgeNetwork, Verdict
from tests.generation import tiny

BOX = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9], [0.1, 0.1]], np.float32)
ROOF = np.array([[0.1, 0.9], [0.5, 0.1], [0.9, 0.9], [0.1, 0.9]], np.float32)


def make_token(mean: float) -> torch.Tensor:
    """Return a token (1, w) of this mean. It rises: layer norms would hide one of equal numbers."""
    return mean * torch.linspace(0, 2, tiny.WIDTH).unsqueeze(0)


def make_case(kind: str, token: float, seed: int = 0) -> DrawingCase:
    both = with_token(tiny.make_query("red", seed=seed), make_token(token))
    return DrawingCase(
        sketch=Sketch.from_strokes([BOX]),
        sibling=Sketch.from_strokes([ROOF]),
        both=both,
        drawing=tiny.make_query("", seed=seed),
        words=tiny.make_query("red", seed=seed + 1),
        kind=kind,
        part="seat",
        colour="red",
        seed=seed,
    )


def spliced(query):
    return query.prompt_embeddings[list(query.pseudo_positions)]


def make_judge() -> Judge:
    colours = ColourModel.fit(np.zeros((2, 3)), ["red", "red"])
    return Judge(kinds=("chair",), parts=("",), network=JudgeNetwork(1, 1, 8), colours=colours)


def test_a_token_is_put_in_place_of_the_querys_own():
    query = tiny.make_query("red")
    other = with_token(query, torch.zeros_like(query.pseudo_tokens))
    assert not spliced(other).any()
    rest = [i for i in range(len(query.prompt_embeddings)) if i not in query.pseudo_positions]
    assert torch.equal(other.prompt_embeddings[rest], query.prompt_embeddings[rest])
    assert spliced(query).any()  # the query itself is left as it was
    with pytest.raises(ValueError, match="shape"):
        with_token(query, torch.zeros(7, 3))


def test_other_tokens_are_of_another_kind_and_the_mean_is_of_all():
    cases = [make_case("chair", 1.0), make_case("chair", 2.0), make_case("mug", 6.0)]
    other = [CONDITIONS["other token"].query(cases, i) for i in range(3)]
    for query, expected in zip(other, (6.0, 6.0, 1.0), strict=True):
        torch.testing.assert_close(spliced(query), make_token(expected))
    mean = CONDITIONS["mean token"].query(cases, 0)
    torch.testing.assert_close(spliced(mean), make_token(3.0))


def test_every_condition_draws_a_picture_a_case(pipeline):
    cases = [make_case("chair", 1.0), make_case("mug", -1.0, seed=5)]
    drawn = {name: benchmark.draw(pipeline, cases, c) for name, c in CONDITIONS.items()}
    assert all(len(made) == 2 for made in drawn.values())
    for other in ("sketch+text", "other token", "mean token"):
        assert largest_difference(drawn["token"][0], drawn[other][0]) > 3


def test_each_case_is_drawn_with_its_seed(pipeline, monkeypatch):
    requests = []

    def note(_, batch):
        requests.extend(batch)
        return [Image.new("RGB", (8, 8)) for _ in batch]

    monkeypatch.setattr(benchmark, "generate_each", note)
    cases = [make_case("chair", 1.0, seed=3), make_case("mug", -1.0, seed=5)]
    benchmark.draw(pipeline, cases, CONDITIONS["text"])
    assert [request.settings.seed for request in requests] == [3, 5]


@pytest.mark.parametrize(("kind", "colour"), [(True, False), (False, True), (False, False)])
def test_kind_and_colour_must_both_be_right(kind, colour):
    one = Outcome(kind=kind, colour=colour, agreement=0.0, agreement_sibling=0.0)
    assert not one.joint
    assert dataclasses.replace(one, kind=True, colour=True).joint


def largest_difference(picture: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(picture, int) - np.asarray(other, int)).max())


def test_outcomes_compare_with_what_was_drawn_and_said(monkeypatch):
    picture = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(picture).rectangle((13, 13, 115, 115), fill="black")
    right = Verdict(kind="chair", colour="red")
    wrong = Verdict(kind="mug", colour=None)
    case = make_case("chair", 1.0)
    cases = [case, dataclasses.replace(case, seed=1)]
    parts_judged = []
    monkeypatch.setattr(
        Judge, "assess", lambda self, _, parts: parts_judged.extend(parts) or [right, wrong]
    )
    first, second = outcomes(make_judge(), cases, [picture, picture])
    assert parts_judged == ["seat", "seat"]
    assert (first.kind, first.colour, first.joint) == (True, True, True)
    assert (second.kind, second.colour, second.joint) == (False, False, False)
    assert first.agreement > 0.9  # the picture shows the box that was drawn
    assert first.agreement > first.agreement_sibling + 0.2


def test_a_colour_word_is_the_longest_that_a_finish_begins_with():
    names = ("green", "dark green", "red")
    assert benchmark.colour_word("dark green velvet", names) == "dark green"
    assert benchmark.colour_word("green glass", names) == "green"
    assert benchmark.colour_word("oak", names) is None
    assert benchmark.colour_word("reddish clay", names) is None


def test_every_part_with_a_named_colour_is_judged(monkeypatch):
    asked = []

    def assess(_, pictures, parts):
        asked.append(list(parts))
        return [Verdict(kind="chair", colour="red" if part == "seat" else "blue") for part in parts]

    monkeypatch.setattr(Judge, "assess", assess)
    finishes = (("seat", "red leather"), ("legs", "red metal"), ("back", "oak"))
    cases = [
        dataclasses.replace(make_case("chair", 0.0), finishes=finishes),
        make_case("chair", 0.0),
    ]
    judged = outcomes(make_judge(), cases, [Image.new("RGB", (64, 64))] * 2)
    assert asked[1] == ["seat", "legs"]
    assert [outcome.parts for outcome in judged] == [0.5, None]


def test_further_seeds_are_others_and_zero_keeps_the_own():
    cases = [make_case("chair", 0.0, seed=s) for s in (3, 4)]
    assert [case.seed for case in benchmark.with_seeds(cases, 0)] == [3, 4]
    others = {case.seed for number in (1, 2) for case in benchmark.with_seeds(cases, number)}
    assert len(others | {3, 4}) == 6
