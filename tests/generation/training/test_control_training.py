import numpy as np
import pytest
import torch

from composer.data.catalogue import CataloguePack
from generation.training.control import (
    ControlRecipe,
    ControlStage,
    make_controlnet,
    train_control,
)
from generation.training.diffusion import DiffusionRecipe, make_unet
from generation.training.inputs import prepare
from generation.training.loop import step_generator, train
from generation.training.scribbles import Scribbles, part_borders, wobble
from tests.composer.data.fake_pack import write_pack
from tests.generation.training import world

SMALL = ControlRecipe(conditioning_channels=(4, 4, 8, 8), optimisation=world.FAST)


def test_part_borders_are_thin_and_closed():
    parts = np.zeros((32, 32), np.uint8)
    parts[8:24, 8:24] = 1
    borders = part_borders(parts)
    assert borders.sum() == pytest.approx(4 * 16, abs=6)
    assert not borders[12:20, 12:20].any()


def test_scribbles_are_white_on_black_and_repeatable(pack):
    rows = pack.rows(split="train")[:12]
    scribbles = Scribbles(pack, "train")
    lines = scribbles.draw(rows, step_generator(0, 0))
    assert lines.shape == (12, 3, 128, 128)
    assert set(lines.unique().tolist()) == {0.0, 1.0}
    assert 0.01 < float(lines.mean()) < 0.25
    assert torch.equal(lines, Scribbles(pack, "train").draw(rows, step_generator(0, 0)))
    assert not torch.equal(lines, scribbles.draw(rows, step_generator(0, 1)))


def test_scribbles_of_a_larger_pack_are_those_of_the_usual_one(tmp_path):
    usual, large = (
        Scribbles(CataloguePack.open(write_pack(tmp_path / str(px), image_px=px)), "train")
        for px in (128, 256)
    )
    rows = usual.pack.rows(split="train")[:4]
    lines = large.draw(rows, step_generator(0, 0))
    assert lines.shape == (4, 3, 128, 128)
    assert torch.equal(lines, large.draw(rows, step_generator(0, 0)))
    for row in rows:
        for made in ("parts", "edges"):
            own, other = (getattr(scribbles, made)(int(row)) > 0 for scribbles in (large, usual))
            assert own.shape == (128, 128)
            assert (own & other).sum() > 0.6 * (own | other).sum()


def test_wobble_bends_a_little_and_breaks_lines():
    lines = torch.zeros(8, 1, 128, 128)
    lines[:, :, 62:65] = 1
    bent = wobble(lines, step_generator(0, 0))
    rows = bent.nonzero()[:, 2].float()
    assert float((rows - 63).abs().max()) < 12
    assert 0.5 < float(bent.sum() / lines.sum()) < 1.1


def test_the_control_network_keeps_its_budget_and_starts_without_effect():
    unet = make_unet(DiffusionRecipe(), 256, 16, 0)
    control = make_controlnet(unet, ControlRecipe(), 0)
    assert 2 * sum(p.numel() for p in control.parameters()) <= 16_000_000
    down, middle = control(
        torch.randn(1, 4, 16, 16),
        torch.tensor([500.0]),
        encoder_hidden_states=torch.randn(1, 4, 256),
        controlnet_cond=torch.ones(1, 3, 128, 128),
        return_dict=False,
    )
    assert all(not tensor.any() for tensor in (*down, middle))


def test_twenty_steps_change_only_the_control_network(sources, small_unet, pack_folder, tmp_path):
    inputs = prepare(world.options(pack_folder, tmp_path, 20), sources, SMALL.shares)
    unet = make_unet(small_unet, inputs.backbone.token_width, 16, 0)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    stage = ControlStage(
        make_controlnet(unet, SMALL, 0),
        unet,
        inputs.latents,
        inputs.rows,
        inputs.conditioner,
        Scribbles(inputs.pack, "train"),
        8,
    )
    run = world.options(pack_folder, tmp_path, 20).run("control")
    losses = train(stage, world.FAST, run).last_losses
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert all(torch.equal(before[name], tensor) for name, tensor in unet.state_dict().items())


def test_the_export_opens_in_stock_diffusers(sources, small_unet, pack_folder, tmp_path):
    import diffusers

    unet = make_unet(small_unet, 32, 16, 0)
    unet.save_pretrained(tmp_path / "unet")
    folder = train_control(
        world.options(pack_folder, tmp_path, 2), sources, tmp_path / "unet", SMALL
    )
    control = diffusers.ControlNetModel.from_pretrained(folder)
    assert control.config["cross_attention_dim"] == 32
