import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from composer.data.catalogue import CataloguePack
from generation import judge as judge_module
from generation.judge import ColourModel, Judge, JudgeError, JudgeNetwork, part_colour, to_lab
from generation.training.command import Pixels
from generation.training.judge import (
    JudgeRecipe,
    JudgeStage,
    disturb,
    part_map,
    part_names,
    train_judge,
)
from generation.training.loop import step_generator, train
from tests.composer.data.fake_pack import write_pack
from tests.generation.training import world

SMALL = JudgeRecipe(width=8, optimisation=dataclasses.replace(world.FAST, batch_size=16))


def test_lab_of_known_colours():
    levels = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [119, 119, 119]], np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [50.03, 0, 0]]
    np.testing.assert_allclose(to_lab(levels), expected, atol=0.05)


def test_colours_are_named_by_their_nearest_cloud():
    rng = np.random.default_rng(0)
    red, blue = rng.normal([50, 60, 40], 5, (30, 3)), rng.normal([40, 10, -50], 5, (5, 3))
    model = ColourModel.fit(np.concatenate([red, blue]), ["red"] * 30 + ["blue"] * 5)
    assert model.rank(np.array([48.0, 55, 35]))[0] == "red"
    assert model.rank(np.array([45.0, 5, -40]))[0] == "blue"


def test_a_colour_seen_once_is_a_round_cloud():
    """The prior counts as four parts of deviation `spread`, and one is added along every axis."""
    model = ColourModel.fit(np.array([[50.0, 0, 0]]), ["grey"], spread=6.0)
    np.testing.assert_allclose(model.precisions[0], np.eye(3) / (4 * 36 / 5 + 1))


def test_a_part_too_small_has_no_colour():
    part = np.zeros((16, 16), bool)
    part[0, :5] = True
    assert part_colour(np.zeros((16, 16, 3), np.uint8), part) is None


def test_disturbed_pictures_stay_pictures_and_their_maps_follow(pack_folder):
    pack = CataloguePack.open(pack_folder)
    images = Pixels(pack, pack.rows(split="train"), torch.device("cpu")).take(torch.arange(4))
    images[:], maps = -1, torch.zeros(4, *images.shape[-2:], dtype=torch.uint8)
    images[:, :, 40:90, 30:60], maps[:, 40:90, 30:60] = 1, 2
    disturbed, followed = disturb(images, maps, step_generator(0, 0))
    assert disturbed.shape == images.shape
    assert disturbed.abs().max() <= 1
    assert not torch.equal(followed, maps)
    assert float(((disturbed.mean(1) > 0) == (followed == 2)).float().mean()) > 0.98


def test_part_maps_fit_pictures_of_a_larger_pack(tmp_path):
    pack = CataloguePack.open(write_pack(tmp_path, image_px=256))
    rows = pack.rows(split="train", domain="photo")[:1]
    pictures = Pixels(pack, rows, torch.device("cpu")).take(torch.arange(1))
    numbers = part_map(pack, int(rows[0]), part_names(pack, rows))
    assert numbers.shape == pictures.shape[-2:] == (128, 128)


def test_part_maps_are_numbered_by_name(pack_folder):
    pack = CataloguePack.open(pack_folder)
    rows = pack.rows(split="train", domain="photo")
    names = part_names(pack, rows)
    assert names[0] == names[-1] == ""
    named = pack.items[rows[0]].part_names
    assert names.index(named[0]) > 0
    numbered, plain = part_map(pack, int(rows[0]), names), pack.parts(int(rows[0]))
    assert np.array_equal(numbered == names.index(named[0]), plain == 1)
    assert np.array_equal(numbered == 0, plain == 0)
    assert np.array_equal(numbered == len(names) - 1, plain > len(named))


def test_the_loss_falls(pack_folder, tmp_path):
    pack = CataloguePack.open(pack_folder)
    pixels = Pixels(pack, pack.rows(split="train", domain="photo"), torch.device("cpu"))
    stage = JudgeStage(pixels, world.KINDS, SMALL, 0)
    losses = train(
        stage, world.FAST, world.options(tmp_path, tmp_path, 20).run("judge")
    ).last_losses
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_judge_is_trained_saved_and_read(pack_folder, tmp_path, monkeypatch):
    path = train_judge(world.options(pack_folder, tmp_path, 40), SMALL)
    judge = Judge.load(path)
    assert judge.kinds == world.KINDS
    image, parts = world.draw_item("box", "blue", 30, 999)
    known, unknown = judge.assess([image.resize((256, 256)), image], [judge.parts[1], "wing"])
    assert known.kind in world.KINDS
    assert known.colour == "blue"
    assert unknown.colour is None
    # More pictures than a batch holds: each keeps its own part.
    monkeypatch.setattr(judge_module, "_BATCH", 2)
    asked = [judge.parts[1], "wing", judge.parts[1]]
    verdicts = judge.assess([image] * 3, asked)
    assert [verdict.colour for verdict in verdicts] == ["blue", None, "blue"]
    assert judge.colours.rank(part_colour(np.asarray(image), np.asarray(parts) == 1))[0] == "blue"
    figures = json.loads((tmp_path / "judge" / "metrics.json").read_text())
    assert figures["colour_accuracy"] > 0.9
    assert figures["kind_accuracy"] >= 0.5


def test_the_kits_judge_keeps_its_budget():
    assert 2 * sum(p.numel() for p in JudgeNetwork(16, 32).parameters()) < 4_000_000


def test_strangers_are_refused(tmp_path):
    with pytest.raises(JudgeError, match="cannot be read"):
        Judge.load(tmp_path / "none.safetensors")
    Image.new("RGB", (8, 8)).save(tmp_path / "judge.png")
    (tmp_path / "judge.png").rename(tmp_path / "judge.safetensors")
    with pytest.raises(JudgeError, match="damaged"):
        Judge.load(tmp_path / "judge.safetensors")
