import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from composer.sketch import Sketch
from generation import benchmark
from generation.benchmark import CONDITIONS, DrawingCase, outcomes, with_token
from generation.judge import ColourModel, Judge, JudgeNetwork, Verdict
from tests.generation import tiny

BOX = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9], [0.1, 0.1]], np.float32)
ROOF = np.array([[0.1, 0.9], [0.5, 0.1], [0.9, 0.9], [0.1, 0.9]], np.float32)


def make_case(kind: str, token: float, seed: int = 0) -> DrawingCase:
    both = tiny.make_query("red", seed=seed)
    both = with_token(both, torch.full_like(both.pseudo_tokens, token))
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
    assert [float(spliced(query).mean()) for query in other] == [6.0, 6.0, 1.0]
    mean = CONDITIONS["mean token"].query(cases, 0)
    torch.testing.assert_close(spliced(mean), torch.full_like(spliced(mean), 3.0))


def test_every_condition_draws_a_picture_a_case(pipeline):
    cases = [make_case("chair", 1.0), make_case("mug", -1.0, seed=5)]
    drawn = {name: benchmark.draw(pipeline, cases, c) for name, c in CONDITIONS.items()}
    assert all(len(made) == 2 for made in drawn.values())
    token, own = drawn["token"], drawn["sketch+text"]
    assert np.asarray(token[0]).tobytes() != np.asarray(own[0]).tobytes()
    assert np.asarray(token[0]).tobytes() != np.asarray(drawn["other token"][0]).tobytes()


def test_outcomes_compare_with_what_was_drawn_and_said(monkeypatch):
    picture = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(picture).rectangle((13, 13, 115, 115), fill="black")
    right = Verdict(kind="chair", colour="red")
    wrong = Verdict(kind="mug", colour=None)
    case = make_case("chair", 1.0)
    cases = [case, dataclasses.replace(case, seed=1)]
    asked = []
    monkeypatch.setattr(
        Judge, "assess", lambda self, _, parts: asked.extend(parts) or [right, wrong]
    )
    first, second = outcomes(make_judge(), cases, [picture, picture])
    assert asked == ["seat", "seat"]
    assert (first.kind, first.colour, first.joint) == (True, True, True)
    assert (second.kind, second.colour, second.joint) == (False, False, False)
    assert first.agreement > 0.9  # the picture shows the box that was drawn
    assert first.agreement > first.agreement_sibling + 0.2
