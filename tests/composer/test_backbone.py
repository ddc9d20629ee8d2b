import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone, end_positions
from composer.clip_files import BackboneError
from composer.splice import splice
from composer.vision import encode_with_tower, norm_layers
from tests.composer.tiny import (
    CONTEXT,
    IMAGE_PX,
    JOINT_DIM,
    MERGES,
    TEXT_WIDTH,
    tiny_backbone,
    write_clip,
)

TEXTS = ["a red chair", "oak", "", "blue blue blue, striped!"]


@pytest.fixture(params=[False, True], ids=["flat", "custom_text"])
def backbone(request):
    return tiny_backbone(custom_text=request.param)


def noise_images(n, size=IMAGE_PX, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(n)
    ]


def test_sizes_come_from_the_folder(backbone):
    assert (backbone.token_width, backbone.joint_dim) == (TEXT_WIDTH, JOINT_DIM)
    assert (backbone.image_size_px, backbone.context_length, backbone.grid) == (
        IMAGE_PX,
        CONTEXT,
        (4, 4),
    )
    assert backbone.start_id == 512 + len(MERGES)
    assert backbone.end_id == backbone.start_id + 1


def test_token_embeddings_reproduce_encode_text_exactly(backbone):
    ids = backbone.tokenize(TEXTS)
    with torch.no_grad():
        expected = backbone.model.encode_text(ids, normalize=True)
        encoding = backbone.encode_embeddings(
            backbone.token_table()[ids], end_positions(ids, backbone.end_id)
        )
    assert torch.equal(encoding.features, expected)
    assert encoding.hidden.shape == (len(TEXTS), CONTEXT, TEXT_WIDTH)


def test_encode_text_skips_padding_without_changing_the_feature(backbone):
    with torch.no_grad():
        full = backbone.model.encode_text(backbone.tokenize(TEXTS), normalize=True)
        torch.testing.assert_close(backbone.encode_text(TEXTS), full, atol=1e-6, rtol=0)


def test_what_stands_behind_the_end_cannot_change_a_feature(backbone):
    ids = backbone.tokenize(["a red chair"])
    end = end_positions(ids, backbone.end_id)
    embeddings = backbone.token_table()[ids].clone()
    with torch.no_grad():
        before = backbone.encode_embeddings(embeddings, end).features
        embeddings[:, int(end) + 1 :] = torch.randn(1, CONTEXT - int(end) - 1, TEXT_WIDTH)
        after = backbone.encode_embeddings(embeddings, end).features
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


def test_image_features_are_those_of_open_clip(backbone):
    pixels = backbone.preprocess(noise_images(3))
    with torch.no_grad():
        expected = backbone.model.encode_image(pixels, normalize=True)
        encoding = backbone.encode_image(pixels)
    torch.testing.assert_close(encoding.features, expected, atol=1e-6, rtol=0)
    assert encoding.patch_features.shape == (3, 16, JOINT_DIM)
    norms = encoding.patch_features.norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_patch_features_follow_the_pooled_path(backbone):
    visual = backbone.model.visual
    pixels = backbone.preprocess(noise_images(1))
    with torch.no_grad():
        x = visual.transformer(visual._embeds(pixels))
        expected = torch.nn.functional.normalize(visual.ln_post(x)[:, 1:] @ visual.proj, dim=-1)
        patches = backbone.encode_image(pixels).patch_features
    torch.testing.assert_close(patches, expected, atol=1e-6, rtol=0)


def test_normalised_arrays_equal_preprocessed_images(backbone):
    images = noise_images(2)
    array = np.stack([np.asarray(image) for image in images])
    torch.testing.assert_close(
        backbone.normalise_pixels(array), backbone.preprocess(images), atol=1e-6, rtol=0
    )
    with pytest.raises(ValueError, match="64 x 64 px RGB"):
        backbone.normalise_pixels(array[:, :32])


def test_a_panorama_is_cut_before_it_is_resized(backbone):
    stripe = Image.new("RGB", (200_000, 4), (9, 9, 9))
    stripe.paste((250, 0, 0), (99_990, 0, 100_010, 4))
    assert backbone.preprocess([stripe]).shape == (1, 3, IMAGE_PX, IMAGE_PX)


def test_tokens_are_cut_with_the_end_kept(backbone):
    ids = backbone.tokenize(["red " * 100])[0].tolist()
    assert ids[0] == backbone.start_id
    assert ids[-1] == backbone.end_id
    assert ids.count(backbone.end_id) == 1


def test_words_join_to_the_tokens_of_the_text(backbone):
    text = "A RED chair, blue-ish &amp; oak"
    ids = [i for word in backbone.word_ids(text) for i in word]
    assert backbone.tokenize([text])[0].tolist()[1 : len(ids) + 2] == [*ids, backbone.end_id]
    assert ids == backbone._tokenizer.encode(text)
    assert backbone.words(text)[:2] == ["a", "red"]


@pytest.mark.parametrize("marker", ["<end_of_text>", "&lt;end_of_text&gt;", "<start_of_text>"])
def test_written_markers_do_not_end_a_prompt(backbone, marker):
    assert torch.equal(backbone.tokenize([f"a {marker} chair"]), backbone.tokenize(["a chair"]))


def test_a_final_newline_of_the_merges_shifts_no_id(tmp_path):
    folder = write_clip(tmp_path)
    merges = folder / "merges.txt"
    merges.write_text(merges.read_text().rstrip("\n"))
    assert Backbone.load(folder).end_id == tiny_backbone().end_id


def test_hashes_tell_towers_apart_and_layouts_agree(tmp_path):
    flat, custom, other = tiny_backbone(), tiny_backbone(custom_text=True), tiny_backbone(seed=1)
    assert len(flat.gallery_hash) == len(flat.text_hash) == 16
    assert (flat.gallery_hash, flat.text_hash) == (custom.gallery_hash, custom.text_hash)
    assert flat.gallery_hash != other.gallery_hash
    assert flat.text_hash != other.text_hash
    config = write_clip(tmp_path) / "open_clip_config.json"
    config.write_text(config.read_text().replace("0.48", "0.5"))
    changed = Backbone.load(tmp_path)
    assert (changed.gallery_hash == flat.gallery_hash, changed.text_hash) == (False, flat.text_hash)


def test_hashes_do_not_depend_on_precision(tmp_path):
    half = Backbone.load(write_clip(tmp_path), dtype=torch.bfloat16)
    assert half.dtype is torch.bfloat16
    assert half.gallery_hash == tiny_backbone().gallery_hash


def test_the_copied_tower_shares_all_but_its_layer_norms():
    backbone = tiny_backbone()
    tower = backbone.copy_vision_tower()
    tuned = {name for name, p in tower.named_parameters() if p.requires_grad}
    expected = {f"{n}.{leaf}" for n in norm_layers(tower) for leaf in ("weight", "bias")}
    assert tuned == expected
    parameters = dict(backbone.model.visual.named_parameters())
    for name, parameter in tower.named_parameters():
        assert (parameter is parameters[name]) == (name not in tuned), name
    pixels = backbone.preprocess(noise_images(1))
    before = backbone.encode_image(pixels).features
    assert torch.equal(encode_with_tower(tower, pixels).features, before)
    for norm in norm_layers(tower).values():
        norm.bias.data.add_(0.5)
    assert torch.equal(backbone.encode_image(pixels).features, before)
    assert not torch.allclose(encode_with_tower(tower, pixels).features, before)


def test_gradients_flow_through_the_frozen_text_tower():
    backbone = tiny_backbone()
    ids = backbone.tokenize(["a red chair"])
    vector = torch.randn(1, 1, TEXT_WIDTH, requires_grad=True)
    spliced = splice(backbone.token_table()[ids], torch.tensor([[2]]), vector)
    backbone.encode_embeddings(
        spliced, end_positions(ids, backbone.end_id)
    ).features.sum().backward()
    assert vector.grad is not None
    assert vector.grad.abs().sum() > 0


def test_prompts_of_another_width_are_refused():
    with pytest.raises(ValueError, match="width 32, got 5 of width 7"):
        tiny_backbone().encode_embeddings(torch.zeros(1, 5, 7), torch.tensor([2]))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("open_clip_model.safetensors", "has no open_clip_model.safetensors"),
        ("open_clip_config.json", "has no"),
    ],
)
def test_an_incomplete_folder_is_refused(tmp_path, missing, message):
    folder = write_clip(tmp_path)
    (folder / missing).unlink()
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BackboneError, match=message):
        Backbone.load(folder)


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = write_clip(tmp_path)
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"width": 48', '"width": 32'))
    with pytest.raises(BackboneError, match="fit its configuration"):
        Backbone.load(folder)


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    folder = write_clip(tmp_path)
    with (folder / "merges.txt").open("a") as file:
        file.write("b e\n")
    with pytest.raises(BackboneError, match="must have the size of the token table"):
        Backbone.load(folder)


def test_damaged_weights_and_missing_folders_are_refused(tmp_path):
    folder = write_clip(tmp_path / "clip")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BackboneError, match="damaged"):
        Backbone.load(folder)
    with pytest.raises(BackboneError, match="There is no CLIP folder"):
        Backbone.load(Path(tmp_path / "nowhere"))
    with pytest.raises(BackboneError, match="neither a folder nor a public CLIP"):
        Backbone.load("ViT-B-32/no-such-tag")
    shutil.rmtree(folder)


@pytest.mark.parametrize("size", [(200, 90), (64, 64), (30, 500)])
def test_cropping_and_normalising_apart_is_preprocessing(size):
    backbone = tiny_backbone()
    levels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(levels)
    apart = backbone.normalise_pixels(backbone.crop(image)[None])
    torch.testing.assert_close(apart, backbone.preprocess([image]), atol=1e-6, rtol=0)
