"""Packs that lack a split end a training in one sentence."""

import pytest

from composer.training.run import TRAININGS, main
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder, image_px=128)
    return folder


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize(("split", "counts"), [("training", (0, 2)), ("validation", (2, 0))])
def test_a_pack_without_a_split_is_named(name, split, counts, clip, tmp_path, capsys):
    pack = write_pack(tmp_path / "pack", num_train=counts[0], num_held=counts[1])
    arguments = [name, "--clip", clip, "--data", pack, "--steps", "1", "--device", "cpu"]
    folders = ["--output", tmp_path / "out", "--state", tmp_path / "s", "--features", tmp_path]
    assert main([str(argument) for argument in (*arguments, *folders)]) == 2
    error = capsys.readouterr().err
    assert f"The pack has no photo of its {split} designs" in error
    assert not (tmp_path / "out").exists()
