"""`duet export-token`, on a kit of a few thousand weights."""

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from composer.query import Query
from composer.token_file import read_token
from studio.commands.shared import read_sketch
from studio.engine import Engine
from studio.kits import load_kit
from tests.studio.kit_world import duet
from tests.studio.tiny_kit import write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_kit(folder / "kit")
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(folder / "sketch.png")
    return folder


def export(world, *arguments):
    return duet("export-token", *arguments, "--kit", world / "kit")


def said(capsys) -> str:
    """The one sentence on stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("duet: ")


def test_the_drawing_leaves_with_its_prompt_and_the_words_stay_words(world, tmp_path, capsys):
    file = tmp_path / "seat.safetensors"
    query = ("--sketch", world / "sketch.png", "--text", "red")
    assert export(world, *query, "--output", file, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    engine = Engine(load_kit(str(world / "kit")))
    composed = engine.compose(Query(sketch=read_sketch(world / "sketch.png"), text="red"))
    word = read_token(file)
    last = composed.pseudo_positions[-1]
    assert torch.equal(word.vectors, composed.prompt_embeddings[1 : last + 1].float())
    assert len(word.vectors) == 3 + 4  # the learned prompt, and the pseudo-words
    assert (word.name, word.kit, word.text_hash) == ("seat", "tiny", engine.backbone.text_hash)
    assert word.opens_prompt
    assert report == {
        "path": str(file), "name": "seat", "prompt": "<seat> red", "num_vectors": 7,
        "widths": [32], "bytes": file.stat().st_size,
    }  # fmt: skip
    with safe_open(file, "pt") as opened:
        facts = opened.metadata()
        assert list(opened.keys()) == ["emb_params"]
    assert (facts["text"], facts["prompt"], facts["absorbs_text"]) == ("red", "<seat> red", "no")


def test_a_person_is_told_how_to_use_it(world, tmp_path, capsys):
    file = tmp_path / "seat.safetensors"
    assert export(world, "--sketch", world / "sketch.png", "--output", file) == 0
    out = capsys.readouterr().out
    assert f"{file}: 7 vectors of width 32" in out
    assert f"Write: <seat>  (here with --token {file})" in out
    assert "opens with the kit 'tiny' alone" in out


def test_absorbed_words_are_inside_and_drawing_alone_or_words_alone_differ(world, tmp_path, capsys):
    made = {}
    for name, query in (
        ("both", ("--sketch", world / "sketch.png", "--text", "red oak")),
        ("words", ("--text", "red oak")),
    ):
        file = tmp_path / f"{name}.safetensors"
        options = ("--absorb-text", "--tokens", 2, "--output", file, "--json")
        assert export(world, *query, *options) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["num_vectors"], report["prompt"]) == (2, f"a photo of <{name}>")
        assert 0 < report["cosine"] <= 1
        made[name] = read_token(file)
        assert not made[name].opens_prompt
    assert not torch.equal(made["both"].vectors, made["words"].vectors)


def test_a_saved_query_is_exported(world, tmp_path):
    engine = Engine(load_kit(str(world / "kit")))
    query = engine.compose(Query(sketch=read_sketch(world / "sketch.png")))
    query.save(tmp_path / "q.safetensors")
    file = tmp_path / "seat.safetensors"
    assert export(world, "--query", tmp_path / "q.safetensors", "--output", file) == 0
    expected = query.prompt_embeddings[1 : query.pseudo_positions[-1] + 1]
    assert torch.equal(read_token(file).vectors, expected.float())


def test_a_composer_without_tokens_gets_them_by_inversion(world, tmp_path, capsys):
    file = tmp_path / "seat.safetensors"
    query = ("--sketch", world / "sketch.png", "--composer", "basic", "--output", file)
    assert export(world, *query) == 0
    assert len(read_token(file).vectors) > 4  # "a photo of", and four tokens


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--text", "red"), "Words alone need no token"),
        ((), "The query is empty"),
        (("--text", "red", "--tokens", 2), "--tokens is the number of tokens that --absorb-text"),
        (("--text", "red", "--absorb-text", "--tokens", 0), "`num_tokens` must be at least 1"),
        (("--text", "red", "--absorb-text", "--tokens", 30), "`num_tokens` must be at most"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_writes_nothing(
    world, tmp_path, capsys, arguments, sentence
):
    assert export(world, *arguments, "--output", tmp_path / "t.safetensors") == 2
    assert sentence in said(capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_output_is_checked_first_and_never_replaced_unasked(world, tmp_path, capsys):
    query = ("--sketch", world / "sketch.png")
    assert export(world, *query, "--output", tmp_path / "t.pt") == 2
    assert "must end in .safetensors" in said(capsys)
    assert export(world, *query, "--output", tmp_path / "my chair.safetensors") == 2
    assert "1 to 60 Latin letters" in said(capsys)
    file = tmp_path / "t.safetensors"
    assert export(world, *query, "--output", file) == 0
    before = file.read_bytes()
    capsys.readouterr()
    assert export(world, *query, "--output", file) == 0
    assert "is saved as" in said(capsys)
    assert file.read_bytes() == before
    assert read_token(tmp_path / "t-1.safetensors").name == "t-1"
    assert export(world, *query, "--format", "diffusers", "--output", file, "--overwrite") == 0
    assert file.read_bytes() != before


def test_a_query_of_another_kit_is_refused(world, tmp_path, capsys):
    from dataclasses import replace

    engine = Engine(load_kit(str(world / "kit")))
    query = engine.compose(Query(sketch=read_sketch(world / "sketch.png")))
    replace(query, text_hash="1234", gallery_hash="5678").save(tmp_path / "q.safetensors")
    file = tmp_path / "t.safetensors"
    for options, sentence in (
        ((), "composed with text tower 1234"),
        (("--absorb-text",), "composed with vision tower 5678"),
    ):
        arguments = ("--query", tmp_path / "q.safetensors", "--output", file, *options)
        assert export(world, *arguments) == 2
        assert sentence in said(capsys)
    assert not file.exists()
