"""Textual inversions in negative words, which most public ones are made for."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from composer.added_words import AddedWord
from composer.files import sha256_of
from composer.query import Query
from generation.provenance import ProvenanceError, read_png, rebuild_request
from generation.request import DrawingSettings, GenerateRequest, RequestError
from studio.engine import Engine
from studio.kits import load_kit
from tests.pictures import noise
from tests.studio.kit_world import duet
from tests.studio.tiny_kit import write_kit

WIDTH = 32


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_kit(folder / "kit")
    noise((70, 70), 80).convert("RGB").save(folder / "photo.png")
    rows = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    save_file({"emb_params": rows}, folder / "fog.safetensors")
    save_file({"emb_params": -rows}, folder / "ice.safetensors")
    return folder


def draw(world, output, negative, *options, command=("generate", "--text", "red")):
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--kit", world / "kit", "--output", output)
    return duet(*command, *drawn, "--negative-text", negative, *options)


def test_the_word_of_a_file_is_read_in_negative_words(world, tmp_path, capsys):
    fog, ice = world / "fog.safetensors", world / "ice.safetensors"
    for name, token in (("fog", fog), ("ice", f"{ice}:fog")):
        assert draw(world, tmp_path / f"{name}.png", "dark <fog>", "--token", token) == 0
        assert capsys.readouterr().err == ""
    assert draw(world, tmp_path / "plain.png", "dark <fog>") == 0
    assert "“<fog>” is read as plain words" in capsys.readouterr().err
    pictures = {(tmp_path / f"{name}.png").read_bytes() for name in ("fog", "ice", "plain")}
    assert len(pictures) == 3
    fields = read_png(tmp_path / "fog.png").fields
    assert fields["negative_text"] == "dark <fog>"
    assert fields["negative"]["added_words"] == [{"name": "fog", "sha256": sha256_of(fog)}]
    assert "added_words" not in fields["query"]
    assert "negative" not in read_png(tmp_path / "plain.png").fields


def test_the_states_of_the_word_are_those_of_its_vectors(world):
    """Beside the vectors of a word of the vocabulary, which the text may name itself."""
    engine = Engine(load_kit(str(world / "kit")))
    ids = engine.backbone.word_ids("red")[0]
    word = AddedWord(name="crimson", vectors=engine.backbone.token_table()[ids].clone())
    settings = DrawingSettings(num_inference_steps=2, negative_text="dark <crimson> fog")
    request = GenerateRequest(query=engine.compose(Query(text="oak")), settings=settings)
    named = engine.with_words([word]).generate(request)
    spelled = engine.generate(
        replace(request, settings=replace(settings, negative_text="dark red fog"))
    )
    assert named.images[0].image.tobytes() == spelled.images[0].image.tobytes()
    assert named.request.negative is not None
    assert spelled.request.negative is None


def test_a_transfer_reads_it_and_a_rerun_needs_no_file(world, tmp_path, capsys):
    fog = tmp_path / "mist.safetensors"
    fog.write_bytes((world / "fog.safetensors").read_bytes())
    image, again = tmp_path / "a.png", tmp_path / "again.png"
    command = ("transfer", world / "photo.png", "--to", "oak")
    assert draw(world, image, "<mist>", "--token", fog, command=command) == 0
    assert draw(world, tmp_path / "b.png", "", command=command) == 0
    fog.unlink()
    source = ("--source", world / "photo.png")
    assert duet("rerun", image, *source, "--kit", world / "kit", "--output", again) == 0
    assert again.read_bytes() == image.read_bytes()
    assert duet("compare", image, tmp_path / "b.png") == 0
    assert "Negative tokens: mist (" in capsys.readouterr().out


def test_what_contradicts_itself_is_refused(world, tmp_path):
    assert draw(world, tmp_path / "a.png", "<fog>", "--token", world / "fog.safetensors") == 0
    provenance = read_png(tmp_path / "a.png")
    request = rebuild_request(provenance)
    assert request.negative is not None
    with pytest.raises(RequestError, match="must be composed of `negative_text`"):
        replace(request, settings=replace(request.settings, negative_text="<ice>"))
    damaged = replace(provenance, fields={**provenance.fields, "negative": {"text": "<fog>"}})
    with pytest.raises(ProvenanceError, match="damaged"):
        rebuild_request(damaged)
    foreign = replace(request, negative=replace(request.negative, text_hash="0" * 16))
    with pytest.raises(RequestError, match="composed for text tower 0000000000000000"):
        Engine(load_kit(str(world / "kit"))).generate(foreign)
