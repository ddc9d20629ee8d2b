"""CLIPs that give features alone, from replicas of their repositories."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone
from composer.clip_files import BackboneError
from composer.feature_backbone import FeatureBackbone
from composer.query import Query
from composer.strategies import load_composer
from composer.strategies.slerp import SlerpComposer
from retrieval.fusion import similarities
from tests.replicas.clips import write_pe_core, write_siglip2

pytestmark = pytest.mark.kits
TEXTS = ["a red chair", "two cats on a sofa"]


@pytest.fixture(scope="module", params=["siglip2", "pe"])
def folder(request, tmp_path_factory):
    write = write_siglip2 if request.param == "siglip2" else write_pe_core
    return write(tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def backbone(folder):
    return Backbone.load(folder)


def photos(num: int) -> list[Image.Image]:
    levels = np.random.default_rng(0).integers(0, 256, (num, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((80, 64)) for one in levels]


def test_features_are_those_of_open_clip(folder, backbone):
    assert isinstance(backbone, FeatureBackbone)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    pixels = torch.stack([transform(image) for image in photos(3)])
    with torch.no_grad():
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(tokenizer(TEXTS), normalize=True)
        ours = backbone.encode_image(backbone.preprocess(photos(3)))
        words = backbone.encode_text(TEXTS)
    torch.testing.assert_close(ours.features, images, rtol=0, atol=1e-6)
    torch.testing.assert_close(words, texts, rtol=0, atol=1e-6)
    assert float((words[0] - words[1]).abs().max()) > 1e-3
    assert float((images[0] - images[1]).abs().max()) > 1e-3
    rows, columns = backbone.grid
    assert ours.patch_features.shape == (3, rows * columns, backbone.joint_dim)
    assert backbone.layouts(ours).shape[0] == 3


def test_a_patch_depends_on_its_place(backbone):
    side = backbone.image_size_px
    left = Image.new("RGB", (side, side), "white")
    right = left.copy()
    right.paste("black", (side - 16, side - 16, side, side))
    with torch.no_grad():
        before, after = (backbone.encode_image(backbone.preprocess([one])) for one in (left, right))
    change = (before.patch_features - after.patch_features)[0].norm(dim=1)
    assert int(change.argmax()) == len(change) - 1


def test_mixed_features_search_and_tokens_are_refused(backbone):
    composer = SlerpComposer(backbone)
    encoded = composer.encode(Query(image=photos(1)[0], text="red"))
    query = composer.compose(encoded, "red")
    assert query.feature.shape == (backbone.joint_dim,)
    assert query.missing_tokens
    words = composer.compose(composer.encode(Query(text="a red chair")), "a red chair")
    expected = backbone.encode_text(["a photo of a red chair"])[0]
    torch.testing.assert_close(words.feature, expected)
    for refused in (
        lambda: backbone.encode_embeddings(torch.zeros(1, 2, 4), torch.tensor([1])),
        lambda: backbone.tokenize(TEXTS),
        backbone.copy_vision_tower,
    ):
        with pytest.raises(BackboneError, match="has no space of tokens"):
            refused()


@pytest.mark.parametrize("name", ["basic", "freedom", "product"])
def test_composers_without_training_search_by_features(backbone, name):
    composer = load_composer(name, backbone)
    query = composer.compose(composer.encode(Query(image=photos(1)[0])), "red")
    gallery = backbone.encode_text([*TEXTS, "a green car"])
    assert similarities([query], gallery).isfinite().all()
    assert query.missing_tokens


def test_a_missing_tokenizer_is_one_sentence(tmp_path):
    folder = write_siglip2(tmp_path / "clip")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    with pytest.raises(BackboneError, match=r"tokenizer of .*clip cannot be opened"):
        Backbone.load(folder)
