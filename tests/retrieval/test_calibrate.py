"""A kit's confidence is fitted on the validation designs of a pack."""

from composer.backbone import Backbone
from composer.strategies.duet import DuetModel
from retrieval.calibrate import main
from retrieval.confidence import QueryMode, load_calibrations
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip


def test_a_pack_calibrates_every_query_mode(tmp_path, capsys):
    clip = write_clip(tmp_path / "clip", image_px=128)
    weights, output = tmp_path / "duet.safetensors", tmp_path / "confidence.json"
    DuetModel(Backbone.load(clip)).save(weights)
    write_pack(tmp_path / "pack")
    arguments = [
        "--clip",
        clip,
        "--weights",
        weights,
        "--data",
        tmp_path / "pack",
        "--output",
        output,
    ]
    assert main([*map(str, arguments)]) == 0
    assert set(load_calibrations(output)) == set(QueryMode)
    assert capsys.readouterr().out.count("split='validation'") == 3
    arguments[5] = tmp_path / "none"
    assert main([*map(str, arguments)]) == 2
    assert capsys.readouterr().err
