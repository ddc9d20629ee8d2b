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
    framing_phrase,
    paraphrases,
    view_captions,
    view_phrase,
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


@pytest.mark.parametrize(
    ("azimuth", "elevation", "phrase"),
    [
        (0.0, 15.0, "from the front"),
        (-11.0, 25.0, "from the front and from above"),
        (-30.0, 15.0, "from the left"),
        (30.0, 5.0, "from the right and at eye level"),
        (-80.0, 30.0, "from the left side and from above"),
        (75.0, 15.0, "from the right side"),
    ],
)
def test_views_are_those_of_a_viewer_before_the_front(azimuth, elevation, phrase):
    assert view_phrase(azimuth, elevation) == phrase


def test_only_unusual_framing_is_said():
    assert framing_phrase(0.06) == "filling the frame"
    assert framing_phrase(0.12) == ""
    assert framing_phrase(0.2) == "with space around it"


def test_view_captions_say_the_view_and_the_fullest_comes_first():
    texts = view_captions(CHAIR, "from the left", "filling the frame")
    assert texts[0] == f"{caption(CHAIR)}, seen from the left, filling the frame"
    assert len(set(texts)) == len(texts)
    assert all("seen from the left" in text for text in texts)
    assert "an armchair seen from the left" in texts
    assert not any("brown" in text for text in view_captions(CHAIR, "from above", "", "pencil"))


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
