"""What the grammar says, and what it must not."""

import pytest

from assets.catalogue.words import (
    DOMAIN_PHRASES,
    DOMAINS,
    KIND_NAMES,
    SEEN_KINDS,
    UNSEEN_KINDS,
    ObjectDescription,
    attribute_phrase,
    caption,
    finish_phrase,
    paraphrases,
    with_article,
)

CHAIR = ObjectDescription(
    names=("armchair", "easy chair"),
    shape=("a winged back", "turned legs"),
    finishes=(("seat", "brown leather"), ("legs", "oak wood")),
)


def test_the_full_caption_says_everything_in_order():
    assert caption(CHAIR) == (
        "a photo of an armchair with a winged back and turned legs, "
        "with a brown leather seat and oak wood legs"
    )
    assert caption(CHAIR, "night").startswith("a night photo of an armchair")


def test_media_without_colour_say_no_finish():
    for domain in ("pencil", "blueprint"):
        text = " ".join([caption(CHAIR, domain), *paraphrases(CHAIR, domain)])
        assert "brown" not in text
        assert "oak" not in text


def test_the_attribute_phrase_carries_neither_kind_nor_shape():
    text = attribute_phrase(CHAIR.finishes)
    assert text == "with a brown leather seat and oak wood legs"
    assert not any(word in text for word in ("armchair", "winged", "turned"))


def test_paraphrases_are_distinct_and_some_are_short():
    text = paraphrases(CHAIR)
    assert len(text) == len(set(text)) > 12
    assert "an armchair in brown leather" in text
    assert "a brown leather easy chair" in text


def test_articles():
    assert with_article("oak chair") == "an oak chair"
    assert with_article("legs") == "legs"
    assert with_article("green glass") == "a green glass"


@pytest.mark.parametrize(
    ("finish", "text"),
    [
        (("blue", "fabric", "striped"), "striped blue fabric"),
        (("oak", "wood", "plain"), "oak wood"),
        (("clear", "glass", "plain"), "clear glass"),
    ],
)
def test_finishes(finish, text):
    assert finish_phrase(*finish) == text


def test_wrong_finishes_are_named():
    with pytest.raises(ValueError, match="fabric has no colour 'oak'"):
        finish_phrase("oak", "fabric")
    with pytest.raises(ValueError, match="`material` must be one of"):
        finish_phrase("red", "cheese")
    with pytest.raises(ValueError, match="`pattern` must be one of"):
        finish_phrase("red", "fabric", "tartan")


def test_no_caption_can_name_an_unnamed_domain():
    assert set(DOMAIN_PHRASES) == set(DOMAINS)
    assert not {"x1", "x2"} & set(DOMAINS)
    with pytest.raises(KeyError):
        caption(CHAIR, "x1")


def test_seen_and_unseen_kinds_do_not_overlap():
    assert len(SEEN_KINDS) == 16
    assert len(UNSEEN_KINDS) == 4
    assert len(set(KIND_NAMES)) == 20
