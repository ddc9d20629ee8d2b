"""The kit that searches natural pictures: it ships whole, knows its words and refuses to draw."""

import json
import shutil

import pytest
from PIL import Image

from composer.query import Query
from composer.sketch import Sketch
from composer.vision import norm_state
from studio.cli import main
from studio.engine import ComposeOptions, Engine
from studio.kit_file import assets_folder
from studio.kits import load_kit
from studio.ui.examples import load_examples

KIT = "mini-search"
KINDS = ("chair", "lamp", "mug", "vase")


@pytest.fixture(scope="module")
def engine():
    return Engine(load_kit(KIT))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A few pictures of some kinds, in a folder of the user's."""
    folder = tmp_path_factory.mktemp("pictures")
    for kind in KINDS:
        for picture in sorted((assets_folder() / "gallery/images").glob(f"{kind}-*"))[:8]:
            shutil.copy(picture, folder)
    assert main(["index", str(folder), "--kit", KIT, "--index", str(folder / "index")]) == 0
    return folder / "index"


def found(engine, index, query, composer="duet"):
    options = ComposeOptions(composer=composer)
    hits = engine.search(engine.compose(query, options), index, top_k=8).hits
    return [hit.path.partition("-")[0] for hit in hits]


@pytest.mark.parametrize("kind", KINDS)
def test_words_find_what_they_name(engine, index, kind):
    assert found(engine, index, Query(text=f"a {kind}")).count(kind) >= 5


@pytest.mark.parametrize("composer", load_kit(KIT).composers)
def test_every_composer_finds_what_is_drawn(engine, index, composer):
    chair = next(example for example in load_examples() if example.title == "chair")
    query = Query(sketch=Sketch.from_json(chair.strokes), text="a chair")
    assert found(engine, index, query, composer).count("chair") >= 4


def test_a_dragon_is_not_known_and_close_to_what_is(engine):
    (unknown,) = engine.unknown_words("a green dragon")
    assert unknown.word == "dragon"
    assert not engine.unknown_words("a green lizard on a wooden chair")


def test_only_normalisation_layers_are_the_drawings_own(engine):
    media = engine.search_backbone.model.visual.media
    own = [name for name in media.own_state() if name.startswith("norms.")]
    assert len(own) == len(norm_state(engine.search_backbone.model.visual))


def test_it_does_not_draw(tmp_path, capsys):
    picture = tmp_path / "drawing.png"
    Image.new("RGB", (64, 64), "white").save(picture)
    asked = ["generate", "--kit", KIT, "--text", "a chair", "--output", str(tmp_path / "out.png")]
    assert main(asked) == 2
    assert KIT in capsys.readouterr().err


def test_the_shipped_gallery_is_of_another_kit_and_nobody_rebuilds_it(capsys):
    assert main(["search", "--kit", KIT, "--text", "a chair"]) == 2
    said = capsys.readouterr().err
    assert "indexed for the kit 'mini'" in said
    assert f"duet index FOLDER --kit {KIT}" in said
    assert "--rebuild" not in said


def test_the_kit_is_listed_as_present(capsys):
    assert main(["kits", "--json"]) == 0
    listed = {kit["name"]: kit for kit in json.loads(capsys.readouterr().out)["kits"]}
    assert listed[KIT]["present"] is True
