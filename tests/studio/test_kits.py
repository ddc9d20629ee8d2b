"""Kits on disk."""

import os
import subprocess
import sys

import pytest

from composer.kit_parts import ComposerFiles
from studio.engine import Engine
from studio.kits import KitError, load_kit
from tests.studio.tiny import write_kit


def test_a_kit_is_read_from_its_folder(tmp_path):
    kit = load_kit(str(write_kit(tmp_path)))
    assert (kit.name, kit.backbone) == ("tiny", tmp_path / "clip")
    weights = tmp_path / "composers/duet.safetensors"
    assert kit.composers == {
        "duet": ComposerFiles(weights=weights),
        "slerp": ComposerFiles(weights=weights, settings={"alpha": 0.7}),
    }
    assert kit.pipeline is None


def test_a_damaged_kit_and_a_missing_part_are_reported(tmp_path):
    folder = write_kit(tmp_path / "kit")
    (folder / "composers/duet.safetensors").unlink()
    with pytest.raises(KitError, match=r"lacks .*duet\.safetensors"):
        load_kit(str(folder))
    for text in ("name = ", "[backbone]\npath = 3", 'name = "x"\n[backbone]\n'):
        (folder / "kit.toml").write_text(text)
        with pytest.raises(KitError, match="is damaged"):
            load_kit(str(folder))


def test_a_kit_for_photos_of_ones_own_is_fetched_when_it_is_used():
    kit = load_kit("clip-b32")
    assert kit.backbone == "ViT-B-32/laion2b_s34b_b79k"
    assert (kit.pipeline, set(kit.composers)) == (None, {"slerp", "inversion"})
    assert Engine(kit).default_composer == "slerp"
    command = [sys.executable, "-m", "studio", "search", "--kit", "clip-b32", "--text", "cat"]
    process = subprocess.run(
        command,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "'ViT-B-32/laion2b_s34b_b79k' could not be fetched" in process.stderr
    assert "Traceback" not in process.stderr
