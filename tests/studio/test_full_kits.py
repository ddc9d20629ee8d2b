"""Full kits from replicas of their repositories: search, transfer and generate by command line."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from generation.provenance import read_png
from studio.kit_file import embedded_kits, read_kit_file
from studio.random_kit import full_size_footprints
from studio.ui.app import build_page
from tests.pictures import noise
from tests.replicas.hub import write_all
from tests.replicas.sd35 import SD35
from tests.studio.kit_world import duet, kit_world
from tests.studio.page import HOUSE, World, make_handlers
from tests.studio.test_ui_handlers import draw, move
from tests.studio.tiny import write_gallery

pytestmark = pytest.mark.kits

DRAWING = sorted(name for name in embedded_kits() if name.startswith("sd"))
FULL = ["sd15", "sdxl", "sd35-medium"]
OTHERS = ("sd35-medium-clip", "sd15-style", "sdxl-style", "sdxl-live")
FEW_STEPS = [name for name in DRAWING if name not in (*FULL, *OTHERS)]
QUICK = ("--num-inference-steps", 2)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(folder / "sketch.png")
    noise((70, 70), 80).convert("RGB").save(folder / "photo.jpg")
    write_gallery(folder / "photos")
    with kit_world(folder, write_all(folder / "replicas")) as hub:
        hub.folder = folder
        yield hub


@pytest.fixture(scope="module")
def saved_query(world):
    """A query with tokens; all these kits share one CLIP, so each can draw from it."""
    kit = ("--kit", "clip-l14")
    assert duet("kits", "fetch", "clip-l14", "--yes") == 0
    photos = world.folder / "photos"
    assert duet("index", photos, *kit) == 0
    query = ("--sketch", world.folder / "sketch.png", "--text", "a red chair")
    path = world.folder / "query.safetensors"
    saving = ("--composer", "inversion", "--save-query", path)
    assert duet("search", *query, *kit, "--index", photos, *saving) == 0
    return path


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return bytes(str(image.size), "ascii") + image.tobytes()


@pytest.mark.parametrize("name", FULL)
def test_a_kit_is_fetched_and_serves_all_three_uses(world, tmp_path, capsys, name):
    folder, kit = world.folder, ("--kit", name)
    assert duet("kits", "fetch", name, "--yes") == 0
    assert not any(path.endswith((".bin", ".ckpt")) for path in world.requests)
    served = len(world.requests)
    assert duet("index", folder / "photos", "--index", tmp_path / "index", *kit) == 0
    capsys.readouterr()
    query = ("--sketch", folder / "sketch.png", "--text", "a red chair", *kit)
    assert duet("search", *query, "--index", tmp_path / "index", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 6
    output, again = tmp_path / "out.png", tmp_path / "again.png"
    assert duet("generate", *query, "--output", output, *QUICK) == 0
    assert ("mapped from the first's: error" in capsys.readouterr().err) == (name != "sd15")
    assert read_png(output).fields["guidance_scale"] == read_kit_file(name).drawing.guidance_scale
    assert duet("rerun", output, "--output", again) == 0
    assert pixels(again) == pixels(output)
    to = ("--to", "watercolour", "--output", tmp_path / "moved.png", "--strength", 0.9, *QUICK)
    assert duet("transfer", folder / "photo.jpg", *to, *kit) == 0
    assert pixels(tmp_path / "moved.png")[:8] == pixels(output)[:8]
    assert len(world.requests) == served


@pytest.mark.parametrize("name", FULL)
def test_the_page_of_a_kit_serves_all_three_uses(world, tmp_path, tmp_path_factory, name):
    assert duet("kits", "fetch", name, "--yes") == 0
    index = tmp_path / "index"
    assert duet("index", world.folder / "photos", "--index", index, "--kit", name) == 0
    page = make_handlers(World(kit=Path(name), index=index), tmp_path_factory.mktemp("served"))
    build_page(page)
    pictures = page.retrieval.retrieve(HOUSE, "a red chair", 0.5)[1]
    assert len(pictures) == 6
    source, _ = page.hand_over(pictures, "")
    (drawn,) = draw(page, words="a red chair", num_images=1)[1]
    assert read_png(drawn.file).fields["kit"] == name
    (_, moved), _, _ = move(page, str(source))
    assert read_png(moved).fields["kind"] == "transfer"


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_token_leaves_for_each_text_encoder_and_comes_back(
    world, saved_query, tmp_path, capsys, name
):
    assert duet("kits", "fetch", name, "--yes") == 0
    kit, file = ("--kit", name), tmp_path / "chair.safetensors"
    capsys.readouterr()
    assert duet("export-token", "--query", saved_query, *kit, "--output", file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "<chair> a red chair"
    expected = {"emb_params"} if name == "sd15" else {"clip_l", "clip_g"}
    assert set(load_file(file)) == expected
    text = ("--text", "<chair> a red chair", "--token", file, "--seed", 3, *QUICK)
    drawn = ("--seed", 3, "--controlnet-conditioning-scale", 0, *QUICK)
    for output, query in (("word", text), ("query", ("--query", saved_query, *drawn))):
        assert duet("generate", *query, *kit, "--output", tmp_path / f"{output}.png") == 0
    assert pixels(tmp_path / "word.png") == pixels(tmp_path / "query.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW_STEPS)
def test_a_few_step_kit_draws_with_its_own_sampler_and_steps(world, saved_query, tmp_path, name):
    assert duet("kits", "fetch", name, "--yes") == 0
    output = tmp_path / "out.png"
    assert duet("generate", "--query", saved_query, "--kit", name, "--output", output) == 0
    fields, drawing = read_png(output).fields, read_kit_file(name).drawing
    assert fields["num_inference_steps"] == drawing.num_inference_steps == 4
    assert fields["guidance_scale"] == drawing.guidance_scale


@pytest.mark.slow
def test_the_second_and_third_pull_of_a_shared_part_download_nothing(world, saved_query):
    assert duet("kits", "fetch", "sdxl", "--yes") == 0
    world.requests.clear()
    assert duet("kits", "fetch", "sdxl-lcm", "--yes") == 0
    downloads = [path for path in world.requests if "/resolve/" in path]
    assert all("latent-consistency/lcm-lora-sdxl" in path for path in downloads)


def test_further_control_networks_are_fetched_on_request_and_named(world, tmp_path, capsys):
    folder, kit = world.folder, ("--kit", "sd15")
    assert duet("kits", "fetch", "sd15", "--yes") == 0
    query = ("--sketch", folder / "sketch.png", "--text", "a red chair", *kit, "--seed", 3, *QUICK)
    output = tmp_path / "out.png"
    named = ("--control", "lineart", "--output", output)
    assert duet("generate", *query, *named) == 2
    assert capsys.readouterr().err.endswith("with: duet kits fetch sd15 --control lineart\n")
    assert duet("kits", "fetch", "sd15", "--yes", "--control", "softedge") == 2
    assert "choose one of: scribble, lineart, canny, depth." in capsys.readouterr().err
    assert full_size_footprints(torch.float16)["sd15"].idle_bytes == 0
    assert duet("kits", "fetch", "sd15", "--yes", "--control", "lineart", "depth") == 0
    assert full_size_footprints(torch.float16)["sd15"].idle_bytes > 0
    assert duet("kits") == 0
    said = capsys.readouterr().out
    assert "Controls: scribble, lineart, canny (fetched on request, 723 MB), depth." in said
    assert duet("generate", *query, *named) == 0
    assert read_png(output).fields["control_name"] == "lineart"
    assert duet("rerun", output, "--output", tmp_path / "again.png") == 0
    assert pixels(tmp_path / "again.png") == pixels(output)
    scribble, also = tmp_path / "scribble.png", tmp_path / "also.png"
    assert duet("generate", *query, "--output", scribble) == 0
    assert duet("generate", *query, "--control", "scribble", "--output", also) == 0
    assert pixels(scribble) == pixels(also) != pixels(output)
    capsys.readouterr()
    assert duet("generate", *query, "--control", "pose", "--output", output) == 2
    error = capsys.readouterr().err
    assert "has no control network 'pose'; choose one of: scribble, lineart, canny, depth." in error
    assert duet("generate", *query, "--control", "depth", "--output", output) == 2
    assert "depth follows no lines" in capsys.readouterr().err
    depth = ("--control", "depth", "--control-image", folder / "photo.jpg")
    assert duet("generate", *query, *depth, "--output", tmp_path / "depth.png") == 0
    to = ("--to", "watercolour", "--control", "lineart", "--output", tmp_path / "moved.png")
    assert duet("transfer", folder / "photo.jpg", *to, *kit, *QUICK) == 0
    assert read_png(tmp_path / "moved.png").fields["control_name"] == "lineart"


def test_sd35_without_t5_is_fetched_without_it_and_draws_the_same_for_a_seed(
    world, saved_query, tmp_path, capsys
):
    name = "sd35-medium-clip"
    assert duet("kits", "fetch", name, "--yes") == 0
    query = ("--query", saved_query, "--kit", name, "--seed", 5, *QUICK)
    for output in ("first.png", "second.png"):
        assert duet("generate", *query, "--output", tmp_path / output) == 0
    assert pixels(tmp_path / "first.png") == pixels(tmp_path / "second.png")
    assert "does without T5" in capsys.readouterr().err


def test_a_gated_repository_says_how_to_get_in_before_anything_is_downloaded(
    world, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "duet"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    world.gated.add(SD35)
    world.requests.clear()
    try:
        assert duet("kits", "fetch", "sd35-medium", "--yes") == 2
        error = capsys.readouterr().err
        assert f"{SD35} asks you to accept its licence first: log in" in error
        assert error.count("\n") == 1
        assert not any("/resolve/" in request for request in world.requests)
        assert not (tmp_path / "duet").exists()
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_reader")
        assert duet("kits", "fetch", "sd35-medium", "--yes") == 0
    finally:
        world.gated.clear()
    assert "Licence: Stability AI Community Licence." in capsys.readouterr().out
