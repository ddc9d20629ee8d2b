import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from torch.nn import functional

from composer.backbone import Backbone
from composer.clip_files import BackboneError
from composer.layout import NUM_CODES, region_maps, region_projection
from composer.media import MEDIA_NAME
from composer.medium import Medium
from composer.trunk import see_last, see_middle
from composer.vision import (
    copy_with_own_norms,
    encode_with_tower,
    fold_tower,
    lay_out,
    norm_state,
)
from tests.composer.tiny import (
    IMAGE_PX,
    JOINT_DIM,
    tiny_backbone,
    tiny_trunk_backbone,
    write_trunk_clip,
)


@pytest.fixture
def backbone():
    return tiny_trunk_backbone()


@pytest.fixture
def pixels(backbone):
    rng = np.random.default_rng(0)
    shape = (IMAGE_PX, IMAGE_PX, 3)
    images = [Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)) for _ in range(3)]
    return backbone.preprocess(images)


def test_sizes_come_from_the_folder(backbone):
    assert (backbone.joint_dim, backbone.image_size_px, backbone.grid) == (
        JOINT_DIM,
        IMAGE_PX,
        (2, 2),
    )
    assert backbone.vision_width == backbone.model.visual.head.proj.weight.shape[1]


@torch.no_grad()
def test_a_photo_is_seen_as_open_clip_sees_it(backbone, pixels):
    expected = backbone.model.encode_image(pixels, normalize=True)
    found = backbone.encode_image(pixels)
    torch.testing.assert_close(found.features, expected, atol=1e-5, rtol=0)
    assert found.medium is Medium.PHOTO


@torch.no_grad()
def test_the_two_parts_make_the_whole(backbone, pixels):
    trunk = backbone.model.visual.trunk
    middle = see_middle(trunk, pixels)
    assert middle.shape[-2:] == (IMAGE_PX // 16, IMAGE_PX // 16)
    expected = trunk.forward_features(pixels)
    torch.testing.assert_close(see_last(trunk, middle), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_mean_of_the_places_is_the_feature(backbone, pixels):
    visual = backbone.model.visual
    places = visual.head.proj(visual.trunk.forward_features(pixels).flatten(2).mT)
    found = backbone.encode_image(pixels)
    torch.testing.assert_close(
        functional.normalize(places.mean(dim=1), dim=-1), found.features, atol=1e-5, rtol=0
    )
    assert found.patch_features.shape == (3, 4, JOINT_DIM)
    torch.testing.assert_close(found.patch_features.norm(dim=-1), torch.ones(3, 4))


@torch.no_grad()
def test_a_drawing_is_seen_by_its_own_head_and_norms(backbone, pixels):
    visual = backbone.model.visual
    found = backbone.encode_image(pixels, Medium.DRAWING)
    pooled = see_last(visual.media.trunk, see_middle(visual.media.trunk, pixels)).mean(dim=(2, 3))
    expected = functional.normalize(visual.media.drawing(pooled), dim=-1)
    torch.testing.assert_close(found.features, expected, atol=1e-5, rtol=0)
    likeness = (found.features * backbone.encode_image(pixels).features).sum(dim=-1)
    assert likeness.max() < 0.99


@torch.no_grad()
def test_learned_layouts_are_cells_centred_and_projected(backbone, pixels):
    visual = backbone.model.visual
    for medium, trunk in ((Medium.PHOTO, visual.trunk), (Medium.DRAWING, visual.media.trunk)):
        found = backbone.layouts(backbone.encode_image(pixels, medium))
        cells = functional.adaptive_avg_pool2d(see_middle(trunk, pixels), 4).flatten(2).mT
        head = visual.media.cells[medium.value]
        expected = torch.cat(
            [(cells[:, i] - head.mean[i]) @ head.weight for i in range(16)], dim=-1
        )
        assert found.shape == (3, NUM_CODES)
        torch.testing.assert_close(found, functional.normalize(expected, dim=-1))


@torch.no_grad()
def test_without_learned_layouts_random_signs_of_the_patches_serve():
    for backbone in (tiny_trunk_backbone(with_media=False), tiny_backbone()):
        levels = torch.rand(2, 3, IMAGE_PX, IMAGE_PX)
        seen = backbone.encode_image(backbone.normalise_levels(levels), Medium.DRAWING)
        expected = region_maps(seen.patch_features, region_projection(JOINT_DIM))
        assert seen.cells is None
        assert backbone.layouts(seen).equal(expected)


@torch.no_grad()
def test_a_vit_sees_both_media_alike():
    backbone = tiny_backbone()
    pixels = torch.randn(2, 3, IMAGE_PX, IMAGE_PX)
    drawing, photo = (backbone.encode_image(pixels, medium) for medium in Medium)
    assert drawing.features.equal(photo.features)


def count(named):
    return sum(tensor.numel() for tensor in named.values())


def test_tuning_is_of_the_normalisation_layers_alone(backbone):
    norms = [m for m in backbone.model.visual.trunk.modules() if "BatchNorm" in type(m).__name__]
    expected = sum(2 * norm.num_features for norm in norms)
    tower = backbone.copy_vision_tower()
    tuned = {name: p for name, p in tower.named_parameters() if p.requires_grad}
    assert count(tuned) == count(norm_state(tower)) == expected > 0


def test_a_vit_tunes_the_two_layer_norms_of_each_block_and_three_more():
    tower = tiny_backbone().copy_vision_tower()
    tuned = {name: p for name, p in tower.named_parameters() if p.requires_grad}
    blocks, width = 2, 48
    assert count(tuned) == count(norm_state(tower)) == (2 * blocks + 2) * 2 * width


def test_the_public_trunk_has_forty_two_thousand_to_tune():
    visual = open_clip.timm_model.TimmModel(
        "tf_efficientnet_lite0", 256, image_size=160, pool="avg", proj="linear", proj_bias=True
    )
    assert count(norm_state(copy_with_own_norms(visual))) == 42_016


def test_running_statistics_never_move(backbone, pixels):
    tower = backbone.copy_vision_tower()
    before = {name: b.clone() for name, b in tower.named_buffers()}
    torch.nn.Sequential(tower).train()
    optimiser = torch.optim.SGD(norm_state(tower).values(), lr=1.0)
    seen = encode_with_tower(tower, pixels, medium=Medium.DRAWING)
    (1 - seen.features[0] @ seen.features[1]).backward()
    optimiser.step()
    assert all(before[name].equal(b) for name, b in tower.named_buffers())
    original = backbone.encode_image(pixels, Medium.DRAWING).features
    tuned = encode_with_tower(tower, pixels, medium=Medium.DRAWING).features
    assert not torch.allclose(original, tuned)
    assert all(p.grad is None for p in backbone.model.parameters())


def test_a_tuned_copy_leaves_photos_alone(backbone, pixels):
    tower = backbone.copy_vision_tower()
    with torch.no_grad():
        for parameter in norm_state(tower).values():
            parameter.add_(0.5)
        expected = backbone.encode_image(pixels).features
        seen = encode_with_tower(tower, pixels).features
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def test_a_kits_hash_covers_what_it_adds(tmp_path: Path):
    folder = write_trunk_clip(tmp_path / "a")
    with_media = Backbone.load(folder)
    assert Backbone.load(folder).gallery_hash == with_media.gallery_hash
    (folder / MEDIA_NAME).unlink()
    without = Backbone.load(folder)
    assert without.gallery_hash != with_media.gallery_hash
    assert without.text_hash == with_media.text_hash


def test_media_of_another_tower_are_refused(tmp_path: Path):
    folder = write_trunk_clip(tmp_path / "a")
    media = with_other_width(folder / MEDIA_NAME)
    shutil.move(media, folder / MEDIA_NAME)
    with pytest.raises(BackboneError, match=r"media.safetensors was made for another vision tower"):
        Backbone.load(folder)


def with_other_width(path: Path) -> Path:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    tensors["drawing.bias"] = tensors["drawing.bias"][:-1].contiguous()
    other = path.with_name("other.safetensors")
    save_file(tensors, other)
    return other


def test_prompts_of_a_vit_are_refused(backbone, pixels):
    with pytest.raises(ValueError, match="Visual prompts need a ViT"):
        encode_with_tower(backbone.model.visual, pixels, torch.zeros(1, backbone.vision_width))


@torch.no_grad()
def test_folded_norms_see_the_same(backbone, pixels):
    visual = backbone.model.visual
    before = {name: t.clone() for name, t in visual.state_dict().items()}
    folded = fold_tower(visual)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())
    for medium in Medium:
        expected = encode_with_tower(visual, pixels, medium=medium)
        seen = encode_with_tower(folded, pixels, medium=medium)
        for name in ("features", "patch_features", "hidden", "cells"):
            torch.testing.assert_close(
                getattr(seen, name), getattr(expected, name), atol=1e-4, rtol=1e-3
            )
        torch.testing.assert_close(lay_out(folded, seen), lay_out(visual, expected))
        assert backbone.encode_image(pixels, medium).features.equal(seen.features)
    assert all(t.equal(before[name]) for name, t in visual.state_dict().items())
    assert fold_tower(tiny_backbone().model.visual) is tiny_backbone().model.visual


def test_a_search_before_a_training_leaves_no_tensors_that_cannot_be_trained_through(tmp_path):
    backbone = Backbone.load(write_trunk_clip(tmp_path / "a"))
    pixels = torch.randn(1, 3, IMAGE_PX, IMAGE_PX)
    with torch.inference_mode():
        backbone.encode_image(pixels)
    pixels.requires_grad_(True)
    backbone.encode_image(pixels).features[0, 0].backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_half_precision_is_not_folded(tmp_path):
    folder = write_trunk_clip(tmp_path / "a")
    backbone = Backbone.load(folder, dtype=torch.bfloat16)
    levels = torch.rand(2, 3, IMAGE_PX, IMAGE_PX)
    pixels = backbone.normalise_levels(levels)
    with torch.no_grad():
        expected = encode_with_tower(backbone.model.visual, pixels).features
        assert backbone.encode_image(pixels).features.equal(expected)


def test_other_trunks_are_refused(tmp_path: Path):
    folder = write_trunk_clip(tmp_path / "a", with_media=False)
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace("test_efficientnet", "test_resnet"))
    visual = open_clip.timm_model.TimmModel("test_resnet", JOINT_DIM, image_size=IMAGE_PX)
    assert not isinstance(visual.trunk, timm.models.efficientnet.EfficientNet)
    with pytest.raises(BackboneError):
        Backbone.load(folder)
