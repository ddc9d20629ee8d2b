"""What is read from archives in the layouts of the real ones, with a WordNet that knows owls."""

from pathlib import Path

import pytest
import torch

from composer.training.words.concepts import (
    Concept,
    Concepts,
    Kind,
    TextSources,
    read_captions,
    read_concepts,
    read_keywords,
)
from composer.training.words.imagenet import imagenet_classes
from composer.training.words.learned_table import caption_words, learned_names
from composer.training.words.withheld import held_out_names
from composer.training.words.wordnet import WordNet
from tests.composer.training.words.tiny_archives import (
    FREE,
    tiny_bank,
    tiny_head,
    write_archives,
)
from tests.composer.training.words.tiny_wordnet import write_wordnet


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    return write_archives(tmp_path)


@pytest.fixture
def concepts(tmp_path: Path, archives: Path) -> Concepts:
    wordnet = WordNet(write_wordnet(tmp_path / "wordnet"))
    sources = TextSources(archives=archives, wordnet=wordnet, withheld=held_out_names(wordnet))
    return read_concepts(tiny_bank(), tiny_head(), sources)


def _of(concepts: Concepts, kind: Kind) -> list[Concept]:
    return [item for item in concepts.items if item.kind is kind]


def test_names_of_the_classifier_are_paired_with_it_unless_withheld(concepts: Concepts):
    classes = imagenet_classes()
    assert (len(classes), classes[0].wnid, classes[0].names[0]) == (1000, "n01440764", "tench")
    tench = _of(concepts, Kind.PROTOTYPE)[0]
    assert (tench.names[0], tench.rows) == ("tench", (0,))
    assert {"tench", "a photo of a tench"} <= set(tench.texts)
    umbrella = next(i for i, c in enumerate(classes) if "umbrella" in c.names)
    assert concepts.has_prototype[0]
    assert not concepts.has_prototype[umbrella]


def test_no_text_names_a_withheld_class(concepts: Concepts):
    texts = [text for item in concepts.items for text in (*item.texts, *item.glosses)]
    words = {word for text in texts for word in text.split()}
    assert not words & {"owl", "owls", "umbrella", "geyser", "pineapple", "saxophone"}


def test_photos_are_paired_with_their_captions_except_the_held_out(concepts: Concepts):
    (caption,) = _of(concepts, Kind.CAPTION)
    assert caption.texts == ("a dog runs", "a dog on grass")
    assert caption.rows == (1000,)


def test_labelled_pictures_are_grouped_by_class_and_medium(concepts: Concepts):
    cat, tabby = _of(concepts, Kind.CLASS)
    assert (cat.names, len(cat.rows)) == (("cat",), 2)
    assert (tabby.names[0], len(tabby.rows)) == ("tabby", 2)
    (cartoon,) = _of(concepts, Kind.MEDIUM)
    assert "a cartoon of a dog" in cartoon.texts
    assert len(cartoon.rows) == 1
    (emoji,) = _of(concepts, Kind.EMOJI)
    assert emoji.texts == ("dog", "a picture of a dog")


def test_every_row_belongs_to_a_feature(concepts: Concepts):
    assert concepts.features.shape == (1000 + 3 + 2 + 2 + 3 + 2, 4)
    torch.testing.assert_close(concepts.features.norm(dim=1), torch.ones(1012))
    rows = [row for item in concepts.items for row in item.rows]
    assert (min(rows), max(rows)) == (0, 1011)


def test_captions_are_tidied_and_flags_and_skin_tones_left_out(archives: Path):
    assert read_captions(archives)[FREE] == ("a dog runs", "a dog on grass")
    assert read_keywords(archives) == {
        "emoji_u1f989": ("owl", "bird"),
        "emoji_u1f415": ("dog",),
    }


def test_the_learned_names_are_those_of_photos(concepts: Concepts):
    table = learned_names(concepts)
    assert table.knows("tench")
    assert table.knows("cats")
    assert "entity" not in table.names
    assert not table.knows("owl")
    cat = _of(concepts, Kind.CLASS)[0]
    assert table.closest(concepts.target(cat), count=1) == ("cat",)
    assert caption_words(concepts) == []  # no word stands in three captions
