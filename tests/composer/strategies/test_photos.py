"""A photo finds itself first, and copies of it soon, whatever the composer; words still count."""

import io

import pytest
import torch
from PIL import Image

from composer.images import open_image
from composer.query import Query
from composer.strategies.basic import BasicComposer
from composer.strategies.duet import DuetComposer, DuetModel
from composer.strategies.freedom import FreedomComposer
from composer.strategies.inversion import InversionComposer, InversionSettings
from composer.strategies.modality import ModalityComposer, ModalityModel
from composer.strategies.product import ProductComposer
from composer.strategies.prompted import PromptedComposer, PromptedModel
from composer.strategies.sentence import SentenceComposer, SentenceModel, SentenceShape
from composer.strategies.slerp import SlerpComposer
from retrieval.fusion import similarities
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture

NUM_PICTURES = 40
SIZE = (96, 72)


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def shaken(model):
    """Move what is trained far from its start, so that the tower is not the frozen one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            tensor.add_(0.3 * torch.randn_like(tensor))
    return model


COMPOSERS = {
    "duet": lambda backbone: DuetComposer(shaken(DuetModel(backbone))),
    "modality": lambda backbone: ModalityComposer(shaken(ModalityModel(backbone))),
    "prompted": lambda backbone: PromptedComposer(shaken(PromptedModel(backbone))),
    "sentence": lambda backbone: SentenceComposer(
        shaken(SentenceModel(backbone, SentenceShape(tower="inherited", image_px=64)))
    ),
    "inversion": lambda backbone: InversionComposer(
        backbone, InversionSettings(max_steps=4, num_restarts=1)
    ),
    "slerp": SlerpComposer,
    "basic": BasicComposer,
    "freedom": FreedomComposer,
    "product": ProductComposer,
}


@pytest.fixture(scope="module", params=COMPOSERS)
def composer(request, backbone):
    return COMPOSERS[request.param](backbone)


@pytest.fixture(scope="module")
def gallery(backbone):
    """Features of the pictures as an index has them."""
    pictures = [picture(seed, SIZE) for seed in range(NUM_PICTURES)]
    with torch.inference_mode():
        features = backbone.encode_image(backbone.preprocess(pictures)).features
    return features.half().float()


def saved(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return open_image(buffer.getvalue())


VARIANTS = {
    "itself": (lambda image: image, 1),
    "scaled": (lambda image: image.resize((64, 48), Image.Resampling.LANCZOS), 3),
    "saved again": (saved, 3),
    "cropped": (lambda image: image.crop((5, 4, 91, 68)), 3),
}


def ranks(composer, gallery, change, *, text="", balance=0.5):
    """Rank of each of some pictures in a search with a changed copy of it."""
    queries = [
        composer.compose(
            composer.encode(Query(image=change(picture(seed, SIZE)))), text, balance=balance
        )
        for seed in range(0, NUM_PICTURES, 8)
    ]
    order = similarities(queries, gallery).argsort(dim=1, descending=True).tolist()
    return [row.index(8 * number) + 1 for number, row in enumerate(order)]


@pytest.mark.parametrize(("change", "most"), VARIANTS.values(), ids=VARIANTS.keys())
def test_a_photo_alone_finds_its_picture(composer, gallery, change, most):
    assert max(ranks(composer, gallery, change)) <= most


def test_words_move_a_photo_away_from_itself(composer, gallery):
    photo = composer.encode(Query(image=picture(0, SIZE)))
    alone, both = (composer.compose(photo, text) for text in ("", "red leather"))
    assert both.fusion is not None or float(both.feature @ alone.feature) < 0.999
    first, second = similarities([alone, both], gallery)
    assert (first - second).abs().max() > 1e-3


def test_the_reference_s_end_of_the_balance_is_the_photo(composer, gallery):
    photo = composer.encode(Query(image=picture(3, SIZE)))
    query = composer.compose(photo, "red leather", balance=0.0)
    assert query.reference_feature is not None
    torch.testing.assert_close(query.reference_feature.float(), gallery[3], atol=1e-2, rtol=0)
