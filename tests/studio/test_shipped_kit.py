"""The kit, gallery and examples that ship: they belong together and do what the page promises."""

import dataclasses

import pytest

from composer.query import Query
from composer.sketch import Sketch
from studio.engine import Composition, Engine
from studio.kits import load_kit
from studio.ui.examples import load_examples

EXAMPLES = load_examples()


@pytest.fixture(scope="module")
def engine():
    return Engine(load_kit())


def compose(engine, example, **how):
    sketch = Sketch.from_json(example.strokes)
    return engine.compose(Query(sketch=sketch, text=example.words), Composition(**how))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_an_example_finds_its_kind(engine, example):
    hits = engine.search(compose(engine, example), top_k=10).hits
    kinds = [hit.metadata["kind"] for hit in hits]
    assert kinds.count(example.title) >= 3, kinds


def test_words_decide_what_the_drawing_leaves_open(engine):
    chair = EXAMPLES[0]

    def captions(words: str) -> str:
        found = engine.search(compose(engine, dataclasses.replace(chair, words=words)), top_k=5)
        return " ".join(str(hit.metadata["caption"]) for hit in found.hits)

    assert captions("with a red leather seat").count("red") >= 3
    assert captions("with a navy fabric seat").count("navy") >= 3
