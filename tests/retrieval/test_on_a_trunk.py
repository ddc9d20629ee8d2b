"""Composers on a kit with a convolutional trunk, which sees drawings and photos differently."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from composer.composed import ComposedQuery
from composer.layout import NUM_CODES
from composer.media import LAYOUT_WEIGHTS
from composer.medium import Medium
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.duet import DuetComposer, DuetModel
from composer.strategies.inversion import InversionComposer, InversionSettings
from composer.strategies.modality import ModalityComposer, ModalityModel
from composer.strategies.prompted import PromptedComposer, PromptedModel
from composer.strategies.reference import reference_pixels
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from composer.vision import norm_state
from retrieval.evidence import explain
from retrieval.indexing.embed import encode_with_regions
from retrieval.regions import query_layout, region_scores
from tests.composer.tiny import tiny_backbone, tiny_trunk_backbone

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]], [[0.2, 0.5], [0.7, 0.5]]]))
PHOTO = Query(image=Image.effect_noise((80, 60), 90).convert("RGB"))

BUILDERS = {
    "slerp": lambda backbone: SlerpComposer(backbone, SlerpSettings(moves_sketches=False)),
    "inversion": lambda backbone: InversionComposer(
        backbone, InversionSettings(max_steps=4, num_restarts=1, moves_sketches=False)
    ),
    "duet": lambda backbone: DuetComposer(DuetModel(backbone)),
    "modality": lambda backbone: ModalityComposer(ModalityModel(backbone)),
    "prompted": lambda backbone: PromptedComposer(PromptedModel(backbone)),
}


@pytest.fixture(params=BUILDERS)
def composer(request):
    return BUILDERS[request.param](tiny_trunk_backbone())


@torch.no_grad()
def test_a_sketch_is_seen_as_a_drawing_and_a_photo_as_a_photo(composer):
    backbone = tiny_trunk_backbone()
    for query, medium in ((SKETCH, Medium.DRAWING), (PHOTO, Medium.PHOTO)):
        seen = backbone.encode_image(reference_pixels(backbone, query), medium)
        encoded = composer.encode(query)
        torch.testing.assert_close(encoded.layout.vector, backbone.layouts(seen)[0])
        assert encoded.layout.weight == LAYOUT_WEIGHTS[medium]
        torch.testing.assert_close(encoded.patch_features, seen.patch_features[0])


def test_a_layout_goes_with_the_query_to_disk_and_back(composer, tmp_path):
    query = composer.compose(composer.encode(SKETCH), "red oak")
    assert query.layout.vector.shape == (NUM_CODES,)
    query.save(tmp_path / "q.safetensors")
    loaded = ComposedQuery.load(tmp_path / "q.safetensors")
    assert loaded.layout.vector.equal(query.layout.vector)
    assert loaded.layout.weight == query.layout.weight
    assert loaded.digest == query.digest != replace(query, layout=None).digest


def test_a_vits_query_has_no_layout_of_its_own():
    composer = SlerpComposer(tiny_backbone())
    query = composer.compose(composer.encode(SKETCH), "")
    assert query.layout is None
    assert query_layout(query).shape == (NUM_CODES,)


def test_a_photo_is_laid_out_like_itself_in_an_index(composer):
    backbone = tiny_trunk_backbone()
    others = [Image.effect_noise((64, 64), 40 + 30 * i).convert("RGB") for i in range(3)]
    codes = encode_with_regions(backbone, [PHOTO.image, *others]).regions
    scores = region_scores(query_layout(composer.compose(composer.encode(PHOTO), "")), codes)
    assert scores[0] == pytest.approx(1, abs=2e-3)
    assert int(scores.argmax()) == 0


def test_a_tuned_copy_starts_as_the_drawings_tower():
    backbone = tiny_trunk_backbone()
    model = DuetModel(backbone).train()
    pixels = reference_pixels(backbone, SKETCH)
    with torch.no_grad():
        expected = backbone.encode_image(pixels, Medium.DRAWING).features
        seen = model.encode_image(pixels).features
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)
    assert len([n for n in model.trainable_state() if n.startswith("layer_norms.")]) == len(
        norm_state(backbone.model.visual)
    )


def test_a_tuned_file_round_trips(tmp_path):
    backbone = tiny_trunk_backbone()
    model = DuetModel(backbone)
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    model.save(tmp_path / "duet.safetensors")
    loaded = DuetModel.load(tmp_path / "duet.safetensors", backbone)
    pixels = reference_pixels(backbone, SKETCH)
    with torch.no_grad():
        assert loaded.encode_image(pixels).features.equal(model.encode_image(pixels).features)


def test_evidence_points_at_what_was_painted():
    backbone = tiny_trunk_backbone()
    grey = np.full((64, 64, 3), 128, np.uint8)
    red = grey.copy()
    red[32:48, 16:32] = (255, 0, 0)
    pixels = backbone.preprocess([Image.fromarray(grey), Image.fromarray(red)])
    with torch.no_grad():
        features = backbone.encode_image(pixels).features
    composer = SlerpComposer(backbone)
    query = composer.compose(composer.encode(SKETCH), "")
    change = torch.nn.functional.normalize(features[1] - features[0], dim=-1)
    found = explain(backbone, replace(query, feature=change), Image.fromarray(red), SKETCH.sketch)
    assert found.heat.shape == (4, 4)
    row, column = divmod(int(found.heat.argmax()), 4)
    assert abs(row - 2) <= 1
    assert abs(column - 1) <= 1
    assert [stroke.heat.shape for stroke in found.strokes] == [(4, 4)] * 2
