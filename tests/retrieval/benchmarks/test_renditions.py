"""ImageNet-R's protocol on a tree of a dozen pictures, with right answers by hand."""

from dataclasses import replace

import pytest
import torch

from composer.strategies.protocol import EncodedReference
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from retrieval.benchmarks.renditions import DOMAIN_WORDS, open_renditions, rendition_rows
from tests.composer.data.fake_pack import encode
from tests.composer.data.test_imagenet_r import GOLDFISH, SHARK, put, write_renditions
from tests.composer.tiny import tiny_backbone
from tests.pictures import noise


@pytest.fixture(scope="module")
def renditions(tmp_path_factory):
    """A goldfish in all four media, a shark as a toy alone; three photos of the one, two of it."""
    folder = tmp_path_factory.mktemp("imagenet")
    write_renditions(folder / "r")
    for number, wnid in enumerate((GOLDFISH, GOLDFISH, GOLDFISH, SHARK, SHARK)):
        picture = encode(noise((40, 40), 40, seed=number).convert("RGB"), "PNG")
        put(folder, f"real/{wnid}/photo_{number}.JPEG", picture)
    return open_renditions(folder / "r", folder / "real", tiny_backbone())


def composer(alpha):
    return SlerpComposer(tiny_backbone(), SlerpSettings(alpha=alpha, moves_sketches=False))


def test_each_photo_asks_for_the_media_of_its_class_among_photos_as_distractors(renditions):
    rows = rendition_rows(composer(0.5), renditions, seed=0)
    assert [(row["query"], row["split"], row["composer"]) for row in rows] == [
        (mode, "imagenet-r", "slerp") for mode in ("image", "text", "image+text")
    ]
    assert {(row["num_queries"], row["num_gallery"]) for row in rows} == {(3 * 4 + 2, 5 + 5)}
    fewer = rendition_rows(composer(0.5), renditions, seed=0, num_photos=1)
    assert fewer[0]["num_queries"] in (1, 4)
    assert rendition_rows(composer(0.5), renditions, seed=0) == rows


def test_the_words_decide_the_medium_and_the_photo_the_class(renditions):
    """Renditions that are their words alone: toys of both classes tie, other media are right."""
    reader = composer(1.0)
    said = {d: reader.compose(EncodedReference(), w).feature for d, w in DOMAIN_WORDS.items()}
    features = renditions.features.clone()
    for row, photo in enumerate(renditions.gallery):
        if photo.domain in said:
            features[row] = said[photo.domain]
    alike = replace(renditions, features=features)
    by_mode = {row["query"]: row for row in rendition_rows(reader, alike, seed=0)}
    for mode in ("text", "image+text"):
        assert by_mode[mode]["hit@1"] == pytest.approx(3 * 3 / 14)
        assert by_mode[mode]["hit@5"] == 1.0
    # Photos find themselves first, which shows nothing in the medium.
    assert by_mode["image"]["hit@1"] == 0.0
    assert not torch.equal(features, renditions.features)
