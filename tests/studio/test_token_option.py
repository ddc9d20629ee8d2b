"""`--token`: a textual inversion file as a word of search, generation and transfer."""

import json

import pytest
import torch
from safetensors.torch import save_file

from composer.files import sha256_of
from composer.token_file import read_token
from generation.provenance import read_png
from tests.composer.tiny import write_clip
from tests.pictures import noise
from tests.studio.kit_world import duet
from tests.studio.tiny_kit import write_gallery, write_kit

WIDTH = 32


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    write_gallery(folder / "gallery", kit)
    noise((70, 70), 80).convert("RGB").save(folder / "photo.png")
    (folder / "strokes.json").write_text("[[[0.1, 0.1], [0.9, 0.2]], [[0.5, 0.5], [0.5, 0.9]]]")
    rows = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    save_file({"emb_params": rows}, folder / "Fog.safetensors")
    save_file({"emb_params": -rows}, folder / "ice.safetensors")
    save_file({"emb_params": torch.zeros(1, 768)}, folder / "sd15.safetensors")
    query = ("--sketch", folder / "strokes.json", "--kit", kit)
    assert duet("export-token", *query, "--output", folder / "drawing.safetensors") == 0
    return folder


def search(world, capsys, *options):
    where = ("--index", world / "gallery", "--kit", world / "kit", "--top-k", 12, "--json")
    assert duet("search", *where, *options) == 0
    return [(hit["id"], hit["similarity"]) for hit in json.loads(capsys.readouterr().out)["hits"]]


def draw(world, command, output, *options):
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--kit", world / "kit", "--output", output)
    return duet(*command, *drawn, *options)


def said(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("duet: ")


def test_search_reads_the_word_by_the_name_of_its_file_or_its_own(world, capsys):
    fog, ice = (world / f"{name}.safetensors" for name in ("Fog", "ice"))
    by_file = search(world, capsys, "--text", "a <fog> blob", "--token", fog)
    assert search(world, capsys, "--text", "a <cold> blob", "--token", f"{fog}:cold") == by_file
    assert search(world, capsys, "--text", "a <fog> blob", "--token", f"{ice}:fog") != by_file
    both = ("--token", fog, "--token", ice)
    assert search(world, capsys, "--text", "a <fog> blob", *both) == by_file
    assert search(world, capsys, "--text", "a <fog> <ice> blob", *both) != by_file


def test_a_known_word_gets_no_note_and_an_unknown_one_does(world, capsys):
    where = ("search", "--index", world / "gallery", "--kit", world / "kit")
    fog = ("--token", world / "Fog.safetensors")
    assert duet(*where, "--text", "red <fog>", *fog) == 0
    assert capsys.readouterr().err == ""
    assert duet(*where, "--text", "red (<fog>:1.4)", *fog) == 0
    assert capsys.readouterr().err == ""
    assert duet(*where, "--text", "red <fog> <dog>", *fog) == 0
    notes = capsys.readouterr().err
    assert "“<dog>” is read as plain words" in notes
    assert "fog" not in notes.lower()


def test_evidence_points_at_the_word_by_its_mark(world, capsys):
    where = ("--index", world / "gallery", "--kit", world / "kit", "--top-k", 1, "--json")
    fog = ("--token", world / "Fog.safetensors")
    assert duet("search", "--text", "red <fog>", "--evidence", *fog, *where) == 0
    (hit,) = json.loads(capsys.readouterr().out)["hits"]
    assert [word["word"] for word in hit["evidence"]["words"]] == ["red", "<fog>"]


def test_the_drawing_that_left_comes_back_with_its_ranking(world, capsys):
    """The prompt of the drawing alone, by the query that was saved and by the word."""
    token = ("--token", world / "drawing.safetensors")
    first = search(world, capsys, "--text", "<drawing>", *token)
    assert len({similarity for _, similarity in first}) > 1
    assert search(world, capsys, "--text", "<DRAWING>", *token) == first


def test_pictures_are_drawn_with_the_word_and_name_its_file(world, tmp_path):
    fog = ("--token", world / "Fog.safetensors")
    for number, (text, token) in enumerate((("red <fog>", fog), ("red <fog>", ()), ("red", fog))):
        assert draw(world, ("generate", "--text", text), tmp_path / f"{number}.png", *token) == 0
    words = [read_png(tmp_path / f"{number}.png").fields["query"] for number in range(3)]
    digest = sha256_of(world / "Fog.safetensors")
    assert words[0]["added_words"] == [{"name": "Fog", "sha256": digest}]
    assert "added_words" not in words[1]
    assert "added_words" not in words[2]
    pictures = [(tmp_path / f"{number}.png").read_bytes() for number in range(3)]
    assert len(set(pictures)) == 3


def test_a_transfer_takes_the_word_as_its_domain(world, tmp_path, capsys):
    to = ("transfer", world / "photo.png", "--to", "<fog>")
    fog = ("--token", world / "Fog.safetensors")
    assert draw(world, to, tmp_path / "a.png", *fog) == 0
    assert capsys.readouterr().err == ""
    assert draw(world, to, tmp_path / "b.png", "--token", f"{world / 'ice.safetensors'}:fog") == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert read_png(tmp_path / "a.png").fields["query"]["added_words"][0]["name"] == "Fog"


def test_a_rerun_needs_no_token_file_as_the_picture_holds_the_prompt(world, tmp_path):
    fog = tmp_path / "mist.safetensors"
    fog.write_bytes((world / "Fog.safetensors").read_bytes())
    image, again = tmp_path / "a.png", tmp_path / "again.png"
    assert draw(world, ("generate", "--text", "red <mist>"), image, "--token", fog) == 0
    fog.unlink()
    assert duet("rerun", image, "--kit", world / "kit", "--output", again) == 0
    assert again.read_bytes() == image.read_bytes()


def test_a_composer_without_tokens_draws_with_the_word(world, tmp_path):
    fog = ("--token", world / "Fog.safetensors")
    query = ("generate", "--sketch", world / "strokes.json", "--composer", "basic", "--text")
    assert draw(world, (*query, "red <fog>"), tmp_path / "a.png", *fog) == 0
    fields = read_png(tmp_path / "a.png").fields["query"]
    assert fields["added_words"][0]["name"] == "Fog"


def test_a_word_of_a_query_that_was_saved_is_in_it(world, tmp_path, capsys):
    fog, saved = world / "Fog.safetensors", tmp_path / "q.safetensors"
    options = ("--text", "red <fog>", "--token", fog, "--save-query", saved)
    hits = search(world, capsys, *options)
    assert search(world, capsys, "--query", saved) == hits
    where = ("search", "--index", world / "gallery", "--kit", world / "kit")
    assert duet(*where, "--query", saved, "--token", fog) == 2
    assert "Give --query alone" in said(capsys)


def test_a_token_is_absorbed_with_the_rest(world, tmp_path):
    options = ("--text", "red <fog>", "--kit", world / "kit", "--absorb-text", "--tokens", 1)
    made = []
    for number, token in enumerate((world / "Fog.safetensors", f"{world / 'ice.safetensors'}:fog")):
        file = tmp_path / f"t{number}.safetensors"
        assert duet("export-token", *options, "--token", token, "--output", file) == 0
        made.append(read_token(file).vectors)
    assert not torch.equal(*made)


@pytest.mark.parametrize("command", ["search", "generate", "transfer"])
@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (["sd15.safetensors"], "<sd15> is for a text encoder of width 768 (CLIP ViT-L/14"),
        (["none.safetensors"], "none.safetensors cannot be read; check the path"),
        (["Fog.safetensors:a b"], "1 to 60 Latin letters"),
        (["Fog.safetensors:"], "1 to 60 Latin letters"),
        (["Fog.safetensors", "ice.safetensors:FOG"], "Two tokens are called <FOG>"),
        (["style.pt"], "is a pickle"),
    ],
)
def test_a_token_that_cannot_be_used_is_one_sentence(
    world, tmp_path, capsys, command, tokens, sentence
):
    output = tmp_path / "out.png"
    given = [part for token in tokens for part in ("--token", world / token)]
    arguments = {
        "search": ("--text", "red", "--index", world / "gallery", "--sheet", output),
        "generate": ("--text", "red", "--output", output),
        "transfer": (world / "photo.png", "--to", "red", "--output", output),
    }[command]
    assert duet(command, *arguments, *given, "--kit", world / "kit") == 2
    assert sentence in said(capsys)
    assert list(tmp_path.iterdir()) == []


def test_both_spaces_are_named_where_the_file_says_its_kit(world, tmp_path, capsys):
    other = tmp_path / "kit"
    write_clip(other / "clip", seed=3)
    where = ("--text", "red <drawing>", "--token", world / "drawing.safetensors")
    (other / "kit.toml").write_text('name = "other"\n[backbone]\npath = "clip"\n')
    assert duet("search", *where, "--index", world / "gallery", "--kit", other) == 2
    sentence = said(capsys)
    assert "The token <drawing> is for the kit 'tiny' (text tower" in sentence
    assert "the kit 'other' reads tokens of width 32" in sentence


def test_the_output_never_replaces_a_token_file(world, tmp_path, capsys):
    fog = tmp_path / "fog.safetensors"
    fog.write_bytes((world / "Fog.safetensors").read_bytes())
    options = ("--text", "<fog>", "--token", fog, "--overwrite", "--kit", world / "kit")
    where = ("--index", world / "gallery")
    assert duet("search", *options, *where, "--save-query", fog) == 2
    assert "must not be a file that is read" in said(capsys)
    assert duet("export-token", *options, "--absorb-text", "--output", fog) == 2
    assert "must not be a file that is read" in said(capsys)
    assert fog.read_bytes() == (world / "Fog.safetensors").read_bytes()
