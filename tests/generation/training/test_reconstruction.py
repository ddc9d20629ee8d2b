import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from generation.training.autoencoder_recipe import make_autoencoder
from generation.training.loop import step_generator
from generation.training.reconstruction import chroma_of, compare, main


@pytest.fixture(scope="module")
def images():
    coarse = torch.rand(3, 3, 16, 16, generator=step_generator(0, 0)) * 1.6 - 0.8
    return functional.interpolate(coarse, size=64)


def test_blur_shows_in_the_edges_and_most_at_full_size(images):
    blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    quality = compare(blurred, images)
    assert quality.edge_ratio < quality.edge_ratio_half < 0.9
    assert quality.chroma_r2 > 0.7
    sharp = compare(images + 0.3 * (images - blurred), images)
    assert sharp.edge_ratio > 1.1


def test_a_uniform_error_is_psnr_by_hand_and_leaves_edges_and_colours(images):
    quality = compare(images + 0.2, images)  # a tenth of the range
    assert quality.psnr_db == pytest.approx(20.0, abs=1e-3)
    assert quality.edge_ratio == pytest.approx(1.0, abs=1e-4)
    assert quality.edge_ratio_half == pytest.approx(1.0, abs=1e-4)
    assert quality.chroma_r2 == pytest.approx(1.0, abs=1e-4)


def test_lost_colour_shows_in_the_chroma(images):
    grey = images.mean(1, keepdim=True).expand_as(images)
    assert compare(grey, images).chroma_r2 < 0.1


def test_chroma_weights_are_blind_to_grey():
    grey = torch.rand(2, 1, 4, 4, generator=step_generator(0, 0)).expand(-1, 3, -1, -1)
    assert chroma_of(grey).abs().max() < 1e-6
    assert chroma_of(torch.eye(3).view(3, 3, 1, 1)).abs().max(1).values.min() > 0.3


def test_the_command_measures_several_on_the_same_pictures(
    pack_folder, small_autoencoder, tmp_path, capsys
):
    for seed in (0, 1):
        make_autoencoder(small_autoencoder, seed).save_pretrained(tmp_path / f"vae-{seed}")
    folders = [str(tmp_path / f"vae-{seed}") for seed in (0, 1)]
    sheet = tmp_path / "sheet.png"
    held_out = ["--data", str(pack_folder), "--count", "4", "--sheet", str(sheet)]
    assert main([*folders, *held_out]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["vae"] for row in rows] == folders
    assert all(row["num_pictures"] == 4 and row["decoder_ms"] > 0 for row in rows)
    assert rows[0]["psnr_db"] != rows[1]["psnr_db"]
    with Image.open(sheet) as opened:
        assert opened.size == (4 * 132 + 4, 3 * 132 + 4)


def test_the_command_measures_a_folder_of_pictures(small_autoencoder, tmp_path, capsys):
    make_autoencoder(small_autoencoder, 0).save_pretrained(tmp_path / "vae")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert main([str(tmp_path / "vae"), "--pictures", str(pictures)]) == 2
    assert "holds no .png or .webp picture" in capsys.readouterr().err
    levels = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    for number, picture in enumerate(levels):
        Image.fromarray(picture).save(pictures / f"{number}.png")
    assert main([str(tmp_path / "vae"), "--pictures", str(pictures)]) == 0
    assert json.loads(capsys.readouterr().out)["num_pictures"] == 2
