import pytest
import torch
from torch.nn.functional import normalize

from composer.composed import MissingTokensError, slerp
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.converter import TextConverter
from composer.strategies.duet import DuetModel
from composer.strategies.reference import reference_pixels
from composer.strategies.slerp import SlerpComposer, SlerpSettings, modality_shift
from tests.composer.tiny import tiny_backbone
from tests.pictures import noise

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]]))
PHOTO = Query(image=noise((64, 64), 90).convert("RGB"))


def seen(query):
    backbone = tiny_backbone()
    return backbone.encode_image(reference_pixels(backbone, query)).features[0]


def test_only_sketches_are_moved_to_the_photo_side():
    composer = SlerpComposer(tiny_backbone())
    shift = modality_shift(tiny_backbone())
    assert torch.equal(composer.encode(PHOTO).image_feature, seen(PHOTO))
    moved = normalize(seen(SKETCH) + shift, dim=-1)
    torch.testing.assert_close(composer.encode(SKETCH).image_feature, moved)
    still = SlerpComposer(tiny_backbone(), SlerpSettings(moves_sketches=False))
    assert torch.equal(still.encode(SKETCH).image_feature, seen(SKETCH))


def test_alpha_is_the_share_of_the_words():
    backbone = tiny_backbone()
    words = backbone.encode_text(["a photo of red"])[0]
    for alpha in (0.0, 0.3, 1.0):
        composer = SlerpComposer(backbone, SlerpSettings(alpha=alpha))
        query = composer.compose(composer.encode(PHOTO), "red")
        torch.testing.assert_close(
            query.feature, slerp(seen(PHOTO), words, alpha), atol=1e-5, rtol=0
        )


def test_without_a_converter_it_searches_but_does_not_yet_draw():
    composer = SlerpComposer(tiny_backbone())
    query = composer.compose(composer.encode(SKETCH), "red")
    with pytest.raises(MissingTokensError, match="not generate"):
        query.require_tokens()
    words_only = composer.compose(composer.encode(Query(text="red")), "red")
    assert len(words_only.require_tokens()) == tiny_backbone().context_length


def test_the_duet_lends_its_tower_and_the_kit_its_converter():
    torch.manual_seed(0)
    duet, converter = DuetModel(tiny_backbone()), TextConverter(tiny_backbone())
    with torch.no_grad():
        for tensor in duet.trainable_state().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    settings = SlerpSettings(uses_tuned_tower=True, moves_sketches=False)
    composer = SlerpComposer(tiny_backbone(), settings, duet=duet, converter=converter)
    encoded = composer.encode(SKETCH)
    expected = duet.encode_image(reference_pixels(tiny_backbone(), SKETCH)).features
    assert torch.equal(encoded.image_feature, expected[0])
    query = composer.compose(encoded, "red")
    assert torch.equal(query.pseudo_tokens, converter.from_images(expected)[0])
    assert query.require_tokens().shape[0] == tiny_backbone().context_length


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="`alpha` must lie between 0 and 1"):
        SlerpComposer(tiny_backbone(), SlerpSettings(alpha=1.5))
    with pytest.raises(ValueError, match="this kit has none"):
        SlerpComposer(tiny_backbone(), SlerpSettings(uses_tuned_tower=True))
