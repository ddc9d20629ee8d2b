"""The shipped kit on a user's own folder: it knows its words, and every composer finds."""

import shutil

import pytest

from composer.query import Query
from composer.sketch import Sketch
from composer.vision import norm_state
from studio.cli import main
from studio.engine import ComposeOptions, Engine
from studio.kit_file import assets_folder
from studio.kits import load_kit
from studio.ui.examples import load_examples
from tests.studio.tiny_kit import write_kit

KINDS = ("chair", "lamp", "mug", "vase")


@pytest.fixture(scope="module")
def engine():
    return Engine(load_kit())


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A few pictures of some kinds, in a folder of the user's."""
    folder = tmp_path_factory.mktemp("pictures")
    for kind in KINDS:
        for picture in sorted((assets_folder() / "gallery/images").glob(f"{kind}-*"))[:8]:
            shutil.copy(picture, folder)
    assert main(["index", str(folder), "--index", str(folder / "index")]) == 0
    return folder / "index"


def found(engine, index, query, composer="duet"):
    options = ComposeOptions(composer=composer)
    hits = engine.search(engine.compose(query, options), index, top_k=8).hits
    return [hit.path.partition("-")[0] for hit in hits]


@pytest.mark.parametrize("kind", KINDS)
def test_words_find_what_they_name(engine, index, kind):
    assert found(engine, index, Query(text=f"a {kind}")).count(kind) >= 5


@pytest.mark.parametrize("composer", load_kit().composers)
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


def test_the_shipped_gallery_is_of_another_kit_and_nobody_rebuilds_it(tmp_path, capsys):
    kit = write_kit(tmp_path / "kit")
    assert main(["search", "--kit", str(kit), "--text", "a chair"]) == 2
    said = capsys.readouterr().err
    assert "indexed for the kit 'mini'" in said
    assert f"duet index FOLDER --kit {load_kit(str(kit)).name}" in said
    assert "--rebuild" not in said
