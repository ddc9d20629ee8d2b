"""The baseline is tuned on validation, and what was chosen is what slerp then does."""

import json

import pytest
import torch

from composer.backbone import Backbone
from composer.composed import slerp
from composer.data.catalogue import CataloguePack
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.duet import DuetModel
from composer.strategies.slerp import SlerpComposer
from composer.training.slerp import ALPHAS, choose, main
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip
from tests.pictures import noise


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    write_clip(folder / "clip", image_px=128)
    (folder / "composers").mkdir()
    DuetModel(Backbone.load(folder / "clip")).save(folder / "composers" / "duet.safetensors")
    return folder


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"), num_train=1, num_held=1)


def test_every_setting_is_tried_and_the_best_comes_first(kit, pack):
    choices = choose(kit / "clip", kit / "composers/duet.safetensors", pack)
    assert len(choices) == len({choice.settings for choice in choices}) == 4 * len(ALPHAS)
    assert [c.acc_1 for c in choices] == sorted((c.acc_1 for c in choices), reverse=True)
    num_held = len(CataloguePack.open(pack).rows(split="validation", domain="photo"))
    assert all((c.acc_1 * num_held) == pytest.approx(round(c.acc_1 * num_held)) for c in choices)


def test_the_composer_mixes_as_the_choice_did(kit, pack):
    settings = choose(kit / "clip", kit / "composers/duet.safetensors", pack)[0].settings
    backbone = Backbone.load(kit / "clip")
    composer = SlerpComposer(backbone, settings, duet=DuetModel(backbone))
    sketch = Sketch.from_image(noise((60, 60), 80).convert("RGB"))
    query = composer.compose(composer.encode(Query(sketch=sketch)), "with a red seat")
    assert query.reference_feature is not None
    assert query.words_feature is not None
    mixed = slerp(query.reference_feature, query.words_feature, settings.alpha)
    torch.testing.assert_close(query.feature, mixed)


def test_the_command_writes_settings_of_the_tuned_tower(kit, pack, tmp_path, capsys):
    output = tmp_path / "slerp.json"
    assert main(["--kit", str(kit), "--data", str(pack), "--output", str(output)]) == 0
    chosen = json.loads(output.read_text())
    assert chosen["uses_tuned_tower"] is True
    assert chosen["alpha"] in ALPHAS
    assert json.loads(capsys.readouterr().out) == chosen
