"""What a step costs, on a public architecture of random weights."""

import json

import pytest
import torch

from composer.backbone import Backbone
from composer.clip_files import BackboneError
from composer.training import cost
from composer.training.cost import COMPOSERS, main, peak_flops
from tests.composer.data.fake_pack import write_pack

SMALL = "ViT-S-32-alt"  # among the smallest that open_clip lists


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"), num_train=1, num_held=1)


def test_an_untrained_backbone_is_always_the_same_and_leaves_the_callers_draws_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = Backbone.load(f"{SMALL}/untrained")
    assert torch.equal(torch.rand(3), expected)
    assert Backbone.load(f"{SMALL}/untrained").gallery_hash == first.gallery_hash
    with pytest.raises(BackboneError, match="neither a folder nor a public CLIP"):
        Backbone.load("ViT-None/untrained")


@pytest.mark.slow
def test_every_training_runs_on_a_public_architecture(pack, capsys):
    assert main(["--architecture", SMALL, "--data", str(pack), "--samples", "4", "--steps", "1",
                 "--device", "cpu"]) == 0  # fmt: skip
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["composer"] for row in rows] == list(COMPOSERS)
    for row in rows:
        assert row["num_samples"] == 4
        assert row["samples_per_s"] == pytest.approx(4 / row["seconds"])
        assert row["num_trainable"] > 0
        assert row["tflops"] > 0
        assert 0 < row["share_of_peak"] < 1.2
        assert 0 < row["peak_gb"] < 24


def test_what_is_missing_is_said(pack, tmp_path, capsys):
    assert main(["--data", str(tmp_path / "none")]) == 2
    assert "build the pack" in capsys.readouterr().err
    lonely = write_pack(tmp_path / "lonely", num_train=2, num_held=0)
    assert main(["--data", str(lonely), "--architecture", SMALL, "--samples", "4"]) == 2
    assert "no photo of its validation designs" in capsys.readouterr().err
    assert main(["--data", str(pack), "--samples", "3"]) == 2
    assert "needs 4 references" in capsys.readouterr().err


def test_the_peak_is_that_of_a_matrix_product(monkeypatch):
    monkeypatch.setitem(cost._MATRIX, "cpu", 256)
    monkeypatch.setattr(cost, "_median_seconds", lambda act, device, repeats: 0.5)
    assert peak_flops(torch.device("cpu")) == 2 * 256**3 / 0.5
