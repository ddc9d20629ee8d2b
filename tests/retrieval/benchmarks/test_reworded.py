"""The protocol's words said otherwise: same facts, other sentences."""

from dataclasses import replace

import pytest

from retrieval.benchmarks import catalogue
from retrieval.benchmarks.reworded import WORDINGS, reworded
from retrieval.search import Gallery
from tests.composer.tiny import tiny_backbone
from tests.retrieval.tiny_world import write_world


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    folder = write_world(tmp_path_factory.mktemp("world") / "gallery", tiny_backbone())
    gallery = Gallery.open(folder / "index", tiny_backbone().gallery_hash)
    return catalogue.read_protocol(gallery, folder)


def test_every_part_keeps_its_finish_in_a_new_sentence(protocol):
    for old, new in zip(protocol.cases, reworded(protocol).cases, strict=True):
        assert new == replace(old, attributes=new.attributes)
        assert new.attributes != old.attributes
        for part, finish in old.finishes:
            assert part in new.attributes
            assert finish in new.attributes


def test_ceilings_stay_as_equal_words_stay_equal(protocol):
    for mode in catalogue.MODES:
        old, new = (catalogue.ceilings(p, mode) for p in (protocol, reworded(protocol)))
        assert old.tolist() == new.tolist()


def test_a_seed_is_a_choice_of_sentences(protocol):
    said = {seed: [c.attributes for c in reworded(protocol, seed=seed).cases] for seed in range(9)}
    assert said[0] == [c.attributes for c in reworded(protocol).cases]
    assert len({tuple(words) for words in said.values()}) > 1


def test_plural_parts_have_plural_verbs():
    said = {wording("legs", "oak wood") for wording in WORDINGS}
    assert "its legs are made of oak wood" in said
    assert "its glass is made of oak wood" in {wording("glass", "oak wood") for wording in WORDINGS}


def test_words_without_finishes_cannot_be_said_otherwise(protocol):
    bare = replace(protocol, cases=tuple(replace(c, finishes=()) for c in protocol.cases))
    with pytest.raises(ValueError, match="name parts and finishes"):
        reworded(bare)
