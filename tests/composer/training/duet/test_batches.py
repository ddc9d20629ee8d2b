"""What batches of the duet's training hold."""

import numpy as np
import pytest
import torch

from composer.data.duet_batches import (
    DuetBatches,
    Mixture,
    encode_gallery,
)
from composer.data.feature_store import FeatureStore, average_regions
from composer.layout import region_maps, region_projection
from composer.strategies.duet import DuetModel
from tests.composer.training.duet.runs import encoded_by


def test_region_means_by_hand():
    patches = torch.zeros(1, 16, 2)
    patches[0, [0, 1, 4, 5], 0] = 1.0  # the upper left quarter of a 4 x 4 grid
    patches[0, [10, 11, 14, 15], 1] = 3.0  # the lower right one
    regions = average_regions(patches, (4, 4), 2)
    assert regions[0].tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]
    overlapping = average_regions(patches, (4, 4), 3)
    assert overlapping.shape == (1, 9, 2)
    assert overlapping[0, [0, 8]].tolist() == [[1, 0], [0, 1]]


def test_a_batch_knows_its_answers(pack, gallery, backbone):
    mixture = Mixture(photo_references=0.0, domain_targets=0.0, dropped_words=0.0)
    batches = DuetBatches(pack, gallery, backbone, mixture=mixture)
    batch = batches.draw(3, 8)
    items = [pack.items[row] for row in gallery.rows]
    for i in range(8):
        anchor = items[int(batch.anchors[i])]
        assert anchor.domain == "photo"
        design = {j for j, item in enumerate(items) if item.design == anchor.design}
        photos = {j for j in design if items[j].domain == "photo"}
        assert set(batch.shows_design[i].nonzero().flatten().tolist()) == photos
        assert set(batch.design_ignored[i].nonzero().flatten().tolist()) == design - photos
        answers = set(batch.answers[i].nonzero().flatten().tolist())
        assert int(batch.targets[i]) in answers <= photos
        assert not (batch.answers[i] & batch.answer_ignored[i]).any()
        assert batch.same_look[i].nonzero().flatten().tolist() == [int(batch.anchors[i])]
    assert len({items[int(a)].design for a in batch.anchors}) == 8
    again = DuetBatches(pack, gallery, backbone, mixture=mixture).draw(3, 8)
    np.testing.assert_array_equal(again.references, batch.references)
    assert again.word_ids == batch.word_ids


def test_words_that_name_a_medium_are_answered_in_it(pack, gallery, backbone):
    batches = DuetBatches(pack, gallery, backbone, mixture=Mixture(domain_targets=1.0))
    batch = batches.draw(0, 8)
    domains = [pack.items[row].domain for row in gallery.rows]
    for i in range(8):
        result = {domains[j] for j in batch.answers[i].nonzero().flatten().tolist()}
        assert result == {"watercolour"}
        assert not batch.answer_ignored[i].any()


def test_references_encoded_before_stand_in_for_pixels(pack, gallery, backbone):
    mixture = Mixture(photo_references=0.0)
    batches = DuetBatches(pack, gallery, backbone, mixture=mixture)
    encoded = encoded_by(backbone, pack, batches, gallery, backbone, count=2)
    sketches = [sketch for sketch in pack.sketches if sketch.design in batches.designs]
    assert sum(len(result) for result in encoded.drawings.values()) == 2 * len(sketches)
    items = [pack.items[row] for row in gallery.rows]
    assert list(encoded.photos) == [i for i, item in enumerate(items) if item.domain == "photo"]
    for index, feature in encoded.photos.items():
        torch.testing.assert_close(feature, gallery.features[index])
    batch = batches.draw(0, 8, encoded)
    for feature, anchor in zip(batch.references, batch.anchors.tolist(), strict=True):
        assert (encoded.drawings[items[anchor].design] == feature).all(1).any()
    photos = DuetBatches(pack, gallery, backbone, mixture=Mixture(photo_references=1.0))
    batch = photos.draw(0, 8, encoded)
    for feature, anchor in zip(batch.references, batch.anchors.tolist(), strict=True):
        matches = [row for row, photo in encoded.photos.items() if torch.equal(photo, feature)]
        assert items[anchor].design in {items[row].design for row in matches}


def test_references_are_encoded_by_the_tower_that_is_held(pack, gallery, backbone):
    model = DuetModel(backbone)
    batches = DuetBatches(pack, gallery, backbone)
    with torch.no_grad():
        for name, parameter in model.trainable_state().items():
            if name.startswith("layer_norms."):
                parameter.mul_(1.2)
    frozen, tuned = (
        encoded_by(tower, pack, batches, gallery, backbone) for tower in (backbone, model)
    )
    design = batches.designs[0]
    for index, photo in frozen.photos.items():
        assert not torch.allclose(photo, tuned.photos[index], atol=1e-3)
    assert not torch.allclose(frozen.drawings[design], tuned.drawings[design], atol=1e-3)


def test_photo_references_show_another_colourway(pack, gallery, backbone):
    batches = DuetBatches(pack, gallery, backbone, mixture=Mixture(photo_references=1.0))
    batch = batches.draw(0, 8)
    items = [pack.items[row] for row in gallery.rows]
    pixels = pack.pixels(gallery.rows)
    for reference, index in zip(batch.references, batch.anchors.tolist(), strict=True):
        matches = [items[i] for i in range(len(items)) if np.array_equal(pixels[i], reference)]
        assert {item.design for item in matches} == {items[index].design}
        assert items[index].colourway not in {item.colourway for item in matches}


def test_a_pack_without_training_pictures_is_refused(pack, backbone):
    with pytest.raises(ValueError, match="no pictures of a split that the training needs"):
        encode_gallery(pack, np.array([], dtype=np.int64), FeatureStore(backbone))


def test_a_gallery_can_be_encoded_in_half_precision(pack, gallery, backbone):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = encode_gallery(pack, gallery.rows, FeatureStore(backbone))
        projection = region_projection(backbone.joint_dim)
        maps = region_maps(torch.eye(backbone.joint_dim)[:4].unsqueeze(0), projection)
    assert maps.dtype == torch.float32
    assert encoded.layouts.dtype == gallery.layouts.dtype == torch.float16
    torch.testing.assert_close(encoded.features, gallery.features, atol=0.03, rtol=0)
