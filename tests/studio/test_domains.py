"""Domains from examples: `duet transfer --like` and `duet domains`, on a kit of random weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone
from composer.domain import read_domain
from composer.strategies.converter import TextConverter
from composer.token_file import read_token
from generation.provenance import read_png
from studio.commands import domain_choice
from tests.composer.tiny import write_clip
from tests.pictures import noise
from tests.studio.kit_world import duet
from tests.studio.tiny_kit import write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    torch.manual_seed(0)
    backbone = Backbone.load(kit / "clip")
    TextConverter(backbone).save(kit / "composers" / "converter.safetensors")
    toml = (kit / "kit.toml").read_text()
    converter = '[converter]\nweights = "composers/converter.safetensors"\n'
    (kit / "kit.toml").write_text('domains = ["oak"]\n' + toml + converter)
    (folder / "pictures").mkdir()
    for number in range(4):
        striped(number).save(folder / "pictures" / f"{number}.png")
    noise((70, 70), 80).convert("RGB").save(folder / "photo.png")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DUET_HOME", str(folder))
    return folder


def striped(number: int) -> Image.Image:
    levels = np.zeros((80, 80, 3), np.uint8)
    levels[:, :: 4 + number] = (255, 40 * number, 0)
    return Image.fromarray(levels)


def transfer(world, output, *options, kit=None):
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--kit", kit or world / "kit")
    return duet("transfer", world / "photo.png", *drawn, "--output", output, *options)


def domains(world, *arguments, kit=None):
    chosen = ("--kit", kit or world / "kit") if arguments[0] == "add" else ()
    return duet("domains", *arguments, *chosen)


def said(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("duet: ")


def pixels(path):
    return np.asarray(Image.open(path))


def test_a_folder_of_examples_names_the_domain(world, tmp_path, capsys):
    a, b, c = (tmp_path / f"{name}.png" for name in "abc")
    assert transfer(world, a, "--like", world / "pictures") == 0
    assert capsys.readouterr().err == ""
    files = [world / "pictures" / f"{number}.png" for number in range(4)]
    assert transfer(world, b, "--like", *files) == 0
    assert a.read_bytes() == b.read_bytes()
    assert transfer(world, c, "--like", *files[:3]) == 0
    assert (pixels(a) != pixels(c)).any()
    query = read_png(a).fields["query"]
    assert query["text"] == "<examples>"
    assert query["added_words"] == [{"name": "examples", "sha256": ""}]


def test_photographs_of_the_subject_take_the_place_of_the_gallery_s(world, tmp_path):
    a, b = (tmp_path / f"{name}.png" for name in "ab")
    assert transfer(world, a, "--like", world / "pictures") == 0
    subject = ("--like-subject", world / "photo.png")
    assert transfer(world, b, "--like", world / "pictures", *subject) == 0
    assert (pixels(a) != pixels(b)).any()


def test_what_cannot_be_read_is_listed_and_the_rest_is_used(world, tmp_path, capsys):
    folder = tmp_path / "examples"
    shutil.copytree(world / "pictures", folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    (folder / "notes.txt").write_text("no picture")
    shutil.copy(folder / "0.png", folder / "again.png")
    assert transfer(world, tmp_path / "a.png", "--like", folder, tmp_path / "none.png") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].split("/")[-1] for line in lines] == ["broken.png", "none.png"]
    assert all(line.startswith("duet: skipped ") for line in lines)
    assert transfer(world, tmp_path / "b.png", "--like", world / "pictures") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_one_example_works_and_is_said_to_be_weak(world, tmp_path, capsys):
    assert transfer(world, tmp_path / "a.png", "--like", world / "pictures" / "0.png") == 0
    assert "One example says little" in said(capsys)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--like", "empty"), "There is no picture in "),
        (("--like", "text.png"), "None of the pictures of --like can be read (1 tried)"),
        (("--like", "none.png", "text.png"), "(2 tried); the first, "),
        (("--like", "pictures", "--to", "oak"), "not both"),
        (("--to", "oak", "--invert"), "for a domain learned from pictures"),
        (("--to", "oak", "--save-token", "t.safetensors"), "for a domain learned from pictures"),
        (("--like", "pictures", "--like-subject", "empty"), "with --like-subject"),
        (("--like", "pictures", "--save-token", "a b.safetensors"), "1 to 60 Latin letters"),
        (("--like", "pictures", "--save-token", "t.pt"), "must end in .safetensors"),
        ((), "Name the domain to move the image into"),
    ],
)
def test_examples_that_cannot_be_used_are_one_sentence(world, tmp_path, capsys, options, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    before = {*tmp_path.iterdir()}
    names = {"empty", "text.png", "none.png", "t.safetensors", "a b.safetensors", "t.pt"}
    given = [
        tmp_path / part if part in names else world / part if part == "pictures" else part
        for part in options
    ]
    assert transfer(world, tmp_path / "out.png", *given) == 2
    assert sentence in said(capsys)
    assert {*tmp_path.iterdir()} == before


def test_the_search_keeps_a_token_that_draws_the_same_again(world, tmp_path, capsys):
    assert transfer(world, tmp_path / "soft.png", "--like", world / "pictures", "--invert") == 0
    token = tmp_path / "soft.safetensors"
    assert f"kept as {token}" in capsys.readouterr().err
    word = read_token(token)
    assert (word.mark, len(word.vectors), word.kit) == ("<soft>", 4, "tiny")
    assert transfer(world, tmp_path / "b.png", "--to", "<soft>", "--token", token) == 0
    assert (pixels(tmp_path / "soft.png") == pixels(tmp_path / "b.png")).all()
    assert transfer(world, tmp_path / "c.png", "--like", world / "pictures") == 0
    assert (pixels(tmp_path / "c.png") != pixels(tmp_path / "b.png")).any()


def test_an_interrupted_search_leaves_nothing(world, tmp_path, home, monkeypatch):
    def interrupt(done, _total):
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(domain_choice, "ProgressLine", lambda *_, **__: interrupt)
    like = ("--like", world / "pictures", "--invert")
    assert transfer(world, tmp_path / "a.png", *like) == 130
    assert domains(world, "add", "soft", world / "pictures", "--invert") == 130
    assert [*tmp_path.iterdir(), *home.iterdir()] == []


def test_a_kit_without_a_converter_searches_and_says_so(world, tmp_path, capsys):
    kit = tmp_path / "kit"
    shutil.copytree(world / "kit", kit)
    toml = (kit / "kit.toml").read_text()
    (kit / "kit.toml").write_text(toml[: toml.index("[converter]")])
    (tmp_path / "out").mkdir()
    like = ("--like", world / "pictures")
    assert transfer(world, tmp_path / "out" / "a.png", *like, kit=kit) == 0
    assert "has no converter of features to tokens" in said(capsys)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_saved_domain_is_listed_used_exported_and_removed(world, tmp_path, home, capsys):
    assert domains(world, "list") == 0
    assert "There is no saved domain yet" in capsys.readouterr().out
    assert domains(world, "add", "Pastel", world / "pictures") == 0
    assert "duet transfer PHOTO --to Pastel" in capsys.readouterr().out
    (file,) = (home / "domains").iterdir()
    assert file.stat().st_size < 64_000
    assert domains(world, "list", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["domains"]
    assert (entry["name"], entry["kit"], len(entry["examples"])) == ("Pastel", "tiny", 4)
    for number, to in enumerate(("Pastel", " PASTEL ", "<pastel>")):
        assert transfer(world, tmp_path / f"{number}.png", "--to", to) == 0
    assert transfer(world, tmp_path / "like.png", "--like", world / "pictures") == 0
    shown = [pixels(tmp_path / f"{name}.png") for name in ("0", "1", "2", "like")]
    assert all((one == shown[0]).all() for one in shown)
    (word,) = read_png(tmp_path / "0.png").fields["query"]["added_words"]
    assert word["name"] == "Pastel"
    assert len(word["sha256"]) == 64
    assert transfer(world, tmp_path / "more.png", "--to", "<pastel> oak") == 0
    assert (pixels(tmp_path / "more.png") != shown[0]).any()
    exported = tmp_path / "mine.safetensors"
    assert domains(world, "export", "pastel", exported) == 0
    assert domains(world, "remove", "pastel") == 0
    assert list((home / "domains").iterdir()) == []
    capsys.readouterr()
    assert transfer(world, tmp_path / "gone.png", "--to", "<pastel>") == 2
    assert "does not know the domain '<pastel>'; choose one of oak" in said(capsys)
    assert domains(world, "add", "back", exported) == 0
    assert transfer(world, tmp_path / "back.png", "--to", "back") == 0
    assert (pixels(tmp_path / "back.png") == shown[0]).all()


def test_an_inverted_domain_is_saved_with_its_tokens(world, home):
    assert domains(world, "add", "soft", world / "pictures", "--invert") == 0
    tokens = read_domain(home / "domains" / "soft.safetensors").tokens
    assert tokens is not None
    assert tokens.shape == (4, 32)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "../up", "pictures"), "1 to 60 Latin letters"),
        (("add", "a b", "pictures"), "1 to 60 Latin letters"),
        (("add", "kept", "pictures"), "There is a domain 'kept' already"),
        (("add", "KEPT", "pictures"), "There is a domain 'KEPT' already"),
        (("add", "Oak", "pictures"), "is a domain of the kit 'tiny' itself"),
        (("add", "x"), "Give pictures of the domain"),
        (("add",), "Name the domain: duet domains add NAME"),
        (("add", "x", "none.png"), "None of the pictures of the examples can be read"),
        (("add", "x", "kit/clip/open_clip_model.safetensors"), "is no domain"),
        (("remove", "x"), "no saved domain 'x'; there are: kept"),
        (("remove", "../kept"), "no saved domain '../kept'"),
        (("remove", "kept", "pictures"), "takes one name"),
        (("export", "kept"), "Name the file to write"),
        (("export", "x", "x.safetensors"), "no saved domain 'x'"),
        (("export", "kept", "x.png"), "must end in .safetensors"),
        (("list", "x"), "takes no name"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_changes_nothing(
    world, home, capsys, arguments, sentence
):
    assert domains(world, "add", "kept", world / "pictures") == 0
    capsys.readouterr()
    before = [(file, file.read_bytes()) for file in (home / "domains").iterdir()]
    given = [*arguments[:2], *(world / part for part in arguments[2:])]
    assert domains(world, *given) == 2
    assert sentence in said(capsys)
    assert [(file, file.read_bytes()) for file in (home / "domains").iterdir()] == before


def test_a_domain_of_another_kit_is_refused_with_both_names(world, tmp_path, capsys):
    assert domains(world, "add", "soft", world / "pictures") == 0
    assert domains(world, "export", "soft", tmp_path / "soft.safetensors") == 0
    other = tmp_path / "other"
    shutil.copytree(world / "kit", other)
    shutil.rmtree(other / "clip")
    write_clip(other / "clip", seed=3)
    toml = (other / "kit.toml").read_text().replace('name = "tiny"', 'name = "other"')
    (other / "kit.toml").write_text(toml)
    capsys.readouterr()
    assert transfer(world, tmp_path / "a.png", "--to", "soft", kit=other) == 2
    sentence = said(capsys)
    assert "learned with the kit 'tiny'" in sentence
    assert "the kit 'other' has another space" in sentence
    assert duet("domains", "add", "x", tmp_path / "soft.safetensors", "--kit", other) == 2
    assert "the kit 'other' has another space" in said(capsys)
    assert not (tmp_path / "a.png").exists()


def test_a_damaged_domain_is_listed_as_such_and_harms_no_other(world, tmp_path, home, capsys):
    assert domains(world, "add", "soft", world / "pictures") == 0
    (home / "domains" / "bad.safetensors").write_bytes(b"\0" * 100)
    capsys.readouterr()
    assert domains(world, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bad: bad.safetensors is damaged")
    assert lines[1].startswith("soft: 4 examples, for the kit 'tiny'")
    assert transfer(world, tmp_path / "a.png", "--to", "soft") == 0
    assert transfer(world, tmp_path / "b.png", "--to", "bad") == 2
    assert "is damaged" in said(capsys)
    assert domains(world, "remove", "bad") == 0


def test_the_user_s_folder_follows_the_environment(tmp_path, monkeypatch):
    from studio.user_folder import user_folder

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("DUET_HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert user_folder() == home / ".duet"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert user_folder() == tmp_path / "data" / "duet"
    monkeypatch.setenv("XDG_DATA_HOME", "data")  # relative ones are to be ignored
    assert user_folder() == home / ".duet"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (home / ".duet").mkdir()
    assert user_folder() == home / ".duet"
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "named"))
    assert user_folder() == tmp_path / "named"
