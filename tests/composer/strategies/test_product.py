import pytest
import torch
from torch.nn.functional import normalize

from composer.kit_parts import ComposerFiles
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import load_composer
from composer.strategies.product import ProductComposer, ProductSettings
from composer.strategies.protocol import ComposerError
from retrieval.fusion import similarities
from tests.composer.tiny import JOINT_DIM, tiny_backbone
from tests.pictures import noise

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]]))
PHOTO = Query(image=noise((64, 64), 90).convert("RGB"))
GALLERY = normalize(torch.randn(50, JOINT_DIM, generator=torch.manual_seed(1)), dim=-1)


def test_pictures_are_ordered_by_the_product_of_shifted_cosines():
    composer = ProductComposer(tiny_backbone(), ProductSettings(floor=2.5))
    query = composer.compose(composer.encode(PHOTO), "red oak")
    image = tiny_backbone().encode_image(tiny_backbone().preprocess([PHOTO.image])).features[0]
    words = tiny_backbone().encode_text(["red oak"])[0]
    product = torch.ones(50)
    for side in (image, words):
        cosines = GALLERY @ side
        lowest = cosines.mean() - 2.5 * cosines.std(correction=0)
        product *= (cosines - lowest).clamp(min=0)
    assert similarities([query], GALLERY)[0].argsort().tolist() == product.argsort().tolist()


def test_sketches_are_moved_to_the_photo_side_if_wanted():
    moved, still = (
        ProductComposer(tiny_backbone(), ProductSettings(moves_sketches=moves)).encode(SKETCH)
        for moves in (True, False)
    )
    slerp = load_composer("slerp", tiny_backbone()).encode(SKETCH)
    assert torch.equal(moved.image_feature, slerp.image_feature)
    assert not torch.allclose(moved.image_feature, still.image_feature)


def test_wrong_settings_are_reported():
    with pytest.raises(ComposerError, match="`floor` must be above 0"):
        load_composer("product", tiny_backbone(), ComposerFiles(settings={"floor": -1.0}))
