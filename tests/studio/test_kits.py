"""Kits on disk."""

import pytest

from composer.kit_parts import ComposerFiles
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


def test_a_damaged_kit_and_a_missing_part_are_told(tmp_path):
    folder = write_kit(tmp_path / "kit")
    (folder / "composers/duet.safetensors").unlink()
    with pytest.raises(KitError, match=r"lacks .*duet\.safetensors"):
        load_kit(str(folder))
    for text in ("name = ", "[backbone]\npath = 3", 'name = "x"\n[backbone]\n'):
        (folder / "kit.toml").write_text(text)
        with pytest.raises(KitError, match="is damaged"):
            load_kit(str(folder))
