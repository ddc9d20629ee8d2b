"""CLIP in the layout of transformers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from composer.backbone import Backbone
from composer.clip_files import BackboneError
from tests.replicas.clips import write_clip_l14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip_l14(tmp_path_factory.mktemp("clip"))


def test_features_equal_those_of_transformers(folder):
    from transformers import CLIPModel

    backbone = Backbone.load(folder)
    reference = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ids = backbone.tokenize(["a red chair", "two cats on a sofa"])
    with torch.no_grad():
        images = reference.get_image_features(pixel_values=pixels).pooler_output
        texts = reference.get_text_features(input_ids=ids).pooler_output
        ours = backbone.encode_image(pixels).features
        words = backbone.encode_text(["a red chair", "two cats on a sofa"])
    normalise = torch.nn.functional.normalize
    torch.testing.assert_close(ours, normalise(images, dim=-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(words, normalise(texts, dim=-1), rtol=0, atol=1e-5)
    assert float((ours[0] - ours[1]).abs().max()) > 0.01


def test_pictures_are_prepared_as_the_repository_says(folder, tmp_path):
    copy = tmp_path / "clip"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    settings |= {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}
    (copy / "preprocessor_config.json").write_text(json.dumps(settings))
    image = Image.fromarray(np.full((32, 32, 3), 255, np.uint8))
    assert float(Backbone.load(copy).preprocess([image]).mean()) == pytest.approx(1.0)
    assert float(Backbone.load(folder).preprocess([image]).mean()) > 1.5


def test_a_tensor_that_is_missing_extra_or_of_another_shape_is_one_sentence(folder, tmp_path):
    for name, tensor, sentence in (
        ("text_model.final_layer_norm.bias", None, r"lacks the tensor text_model\.final_layer"),
        (
            "text_model.extra.bias",
            torch.zeros(4),
            r"unexpected tensor text_model\.extra",
        ),
        ("visual_projection.weight", torch.zeros(32, 16), "whose weights fit its configuration"),
    ):
        state = load_file(folder / "model.safetensors")
        state.pop(name, None)
        if tensor is not None:
            state[name] = tensor
        (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
        save_file(state, tmp_path / "model.safetensors")
        with pytest.raises(BackboneError, match=sentence):
            Backbone.load(tmp_path)
