"""What is read from archives in the layouts of the real ones, with a WordNet that knows owls."""

from pathlib import Path

import numpy as np
import pytest
import torch

from composer.data.tree import DatasetError
from composer.training.words.bank import CATALOGUE
from composer.training.words.concepts import (
    Concept,
    ConceptKind,
    Concepts,
    TextSources,
    read_captions,
    read_concepts,
    read_keywords,
)
from composer.training.words.contrast import GROUP_SIZE, SHARES, Drawer
from composer.training.words.imagenet import imagenet_classes
from composer.training.words.learned_table import caption_words, learned_names
from composer.training.words.withheld import held_out_names
from composer.training.words.wordnet import WordNet
from tests.composer.training.words.tiny_archives import (
    FREE,
    tiny_bank,
    tiny_head,
    tiny_items,
    tiny_renders,
    write_archives,
)
from tests.composer.training.words.tiny_wordnet import write_wordnet


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    return write_archives(tmp_path)


@pytest.fixture
def concepts(tmp_path: Path, archives: Path) -> Concepts:
    wordnet = WordNet(write_wordnet(tmp_path / "wordnet"))
    sources = TextSources(
        archives=archives,
        wordnet=wordnet,
        withheld=held_out_names(wordnet),
        catalogue=tiny_items(),
    )
    return read_concepts(tiny_bank() | {CATALOGUE: tiny_renders()}, tiny_head(), sources)


def _of(concepts: Concepts, kind: ConceptKind) -> list[Concept]:
    return [item for item in concepts.items if item.kind is kind]


def test_names_of_the_classifier_are_paired_with_it_unless_withheld(concepts: Concepts):
    classes = imagenet_classes()
    assert (len(classes), classes[0].wnid, classes[0].names[0]) == (1000, "n01440764", "tench")
    tench = _of(concepts, ConceptKind.PROTOTYPE)[0]
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
    (caption,) = _of(concepts, ConceptKind.CAPTION)
    assert caption.texts == ("a dog runs", "a dog on grass")
    assert caption.rows == (1000 + len(tiny_items()),)


def test_labelled_pictures_are_grouped_by_class_and_medium(concepts: Concepts):
    *_, cat, tabby = _of(concepts, ConceptKind.CLASS)
    assert (cat.names, len(cat.rows)) == (("cat",), 2)
    assert (tabby.names[0], len(tabby.rows)) == ("tabby", 2)
    (cartoon,) = _of(concepts, ConceptKind.MEDIUM)
    assert "a cartoon of a dog" in cartoon.texts
    assert len(cartoon.rows) == 1
    (emoji,) = _of(concepts, ConceptKind.EMOJI)
    assert emoji.texts == ("dog", "a picture of a dog")


def test_the_catalogue_is_paired_by_caption_finish_and_kind(concepts: Concepts):
    pictures = _of(concepts, ConceptKind.CATALOGUE)
    assert {item.group for item in pictures} == {"chair", "bowl"}
    first = next(c for c in pictures if "a photo of a chair, with a red oak body" in c.texts)
    assert first.texts == ("a photo of a chair, with a red oak body", "a red chair")
    (finish,) = (c for c in pictures if c.group == "chair" and c.texts[0].startswith("with"))
    assert len(finish.rows) == 2  # photos of both chairs, not the painted one
    kinds = {c.names: c.rows for c in _of(concepts, ConceptKind.CLASS) if c.names in {("chair",)}}
    assert kinds["chair",] == finish.rows


def test_renders_without_their_pack_are_an_error(tmp_path: Path, archives: Path):
    wordnet = WordNet(write_wordnet(tmp_path / "words"))
    sources = TextSources(archives=archives, wordnet=wordnet, withheld=held_out_names(wordnet))
    with pytest.raises(DatasetError, match="training pack"):
        read_concepts(tiny_bank() | {CATALOGUE: tiny_renders()}, tiny_head(), sources)


def test_catalogue_pictures_come_in_groups_of_one_kind(concepts: Concepts):
    kind_of = {i: c.group for i, c in enumerate(concepts.items) if c.kind is ConceptKind.CATALOGUE}
    draws = [d for d in Drawer(concepts).draw(np.random.default_rng(0)) if d.concept in kind_of]
    assert len(draws) == SHARES[ConceptKind.CATALOGUE]
    groups = [kind_of[draw.concept] for draw in draws]
    for first in range(0, len(groups), GROUP_SIZE):
        assert len(set(groups[first : first + GROUP_SIZE])) == 1
    assert len(set(groups)) == 2


def test_every_row_belongs_to_a_feature(concepts: Concepts):
    total = 1000 + 3 + 2 + 2 + 3 + 2 + len(tiny_items())
    assert concepts.features.shape == (total, 4)
    torch.testing.assert_close(concepts.features.norm(dim=1), torch.ones(total))
    rows = [row for item in concepts.items for row in item.rows]
    assert (min(rows), max(rows)) == (0, total - 1)


def test_captions_are_tidied_and_flags_and_skin_tones_left_out(archives: Path):
    assert read_captions(archives)[FREE] == ("a dog runs", "a dog on grass")
    assert read_keywords(archives) == {
        "emoji_u1f989": ("owl", "bird"),
        "emoji_u1f415": ("dog",),
    }


def test_the_learned_names_are_those_of_photos(concepts: Concepts):
    *_, cat, _ = _of(concepts, ConceptKind.CLASS)
    table = learned_names(concepts, lambda texts: concepts.target(cat).expand(len(texts), -1))
    assert table.knows("tench")
    assert table.knows("without")  # shows nothing
    assert table.knows("cats")
    assert "entity" not in table.names
    assert not table.knows("owl")
    assert table.closest(concepts.target(cat), count=1) == ("cat",)
    # 49 of 50 names are at least as similar to their own pictures.
    assert (table.features[list(table.rows)] @ concepts.target(cat)).lt(
        table.min_similarity
    ).float().mean() == pytest.approx(0.02, abs=0.005)
    shared = caption_words(concepts)
    assert {"chair", "oak"} <= set(shared)
    assert "grass" not in shared  # in one caption alone
