"""A kit's confidence is fitted on the validation designs of a pack."""

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.kit_parts import ComposerFiles
from composer.strategies import load_composer
from composer.strategies.duet import DuetModel
from retrieval.calibrate import EVERY_NTH_DESIGN, galleries_of_pack, main
from retrieval.confidence import QueryMode, load_calibrations
from tests.composer.data.fake_pack import write_pack
from tests.composer.data.tiny_archives import write_archives
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
    said = capsys.readouterr().out
    assert said.count("split='validation'") == 4
    assert "asked='two words'" in said
    arguments[5] = tmp_path / "none"
    assert main([*map(str, arguments)]) == 2
    assert capsys.readouterr().err


def test_a_query_searches_galleries_of_several_sizes(tmp_path):
    backbone = Backbone.load(write_clip(tmp_path / "clip", image_px=128))
    write_pack(tmp_path / "pack")
    pack = CataloguePack.open(tmp_path / "pack")
    composer = load_composer("slerp", backbone, ComposerFiles())
    asked = galleries_of_pack(pack, composer, backbone, tmp_path)
    sizes = [len(gallery) for _, gallery in asked]
    assert len(sizes) == len(EVERY_NTH_DESIGN)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == len(pack.validation_photos()) > sizes[-1]
    for queries, gallery in asked:
        kinds = {item.kind for item in gallery.items}
        assert {query.kind for query in queries} == kinds
        assert kinds == {item.kind for item in asked[0][1].items}
        assert len(queries) == 4 * len(gallery)


def test_photos_of_the_natural_world_calibrate_with_the_pack(tmp_path, capsys):
    """Drawings and names of classes that are in the gallery, and of classes that are not."""
    clip = write_clip(tmp_path / "clip", image_px=128)
    weights = tmp_path / "duet.safetensors"
    DuetModel(Backbone.load(clip)).save(weights)
    write_pack(tmp_path / "pack")
    asked = ["--clip", clip, "--weights", weights, "--data", tmp_path / "pack", "--output"]
    fitted = {}
    for name, more in {"a": [], "b": ["--natural", write_archives(tmp_path)]}.items():
        assert main([*map(str, [*asked, tmp_path / name, *more])]) == 0
        fitted[name] = load_calibrations(tmp_path / name)
    said = capsys.readouterr().out
    # Two classes of three drawings and three wordings each.
    for given in ("drawing", "name"):
        assert f"asked='{given}', split='natural', num_queries=6" in said
    assert fitted["a"][QueryMode.BOTH] == fitted["b"][QueryMode.BOTH]
    for mode in (QueryMode.REFERENCE, QueryMode.WORDS):
        assert fitted["a"][mode] != fitted["b"][mode]
