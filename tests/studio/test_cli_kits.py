"""`duet kits`: listing, downloading and removing kits, from replicas of their repositories."""

import io
import json
import socket

import pytest
from PIL import Image

from studio.kit_file import embedded_kits, read_kit_file
from tests.replicas.clips import (
    CLIP_B32,
    CLIP_L14,
    PE_CORE,
    SIGLIP2,
    write_clip_b32,
    write_clip_l14,
    write_pe_core,
    write_siglip2,
)
from tests.replicas.layout import read_folder
from tests.studio.kit_world import duet, kit_world
from tests.studio.tiny import write_gallery

pytestmark = pytest.mark.kits


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    return {
        CLIP_B32: read_folder(write_clip_b32(folder / "b32")),
        CLIP_L14: read_folder(write_clip_l14(folder / "l14")),
        SIGLIP2: read_folder(write_siglip2(folder / "siglip2")),
        PE_CORE: read_folder(write_pe_core(folder / "pe")),
    }


@pytest.fixture
def hub(repositories, tmp_path):
    copies = {name: dict(files) for name, files in repositories.items()}
    with kit_world(tmp_path / "world", copies) as hub:
        yield hub


@pytest.fixture
def no_sockets(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", ["clip-b32", "clip-l14", "siglip2-b32", "pe-core-l14"])
def test_a_search_kit_is_fetched_indexes_and_searches(hub, tmp_path, capsys, name):
    assert duet("kits", "fetch", name, "--yes") == 0
    said = capsys.readouterr().out
    assert "Licence: " in said
    assert f"The kit {name} is on this machine." in said
    assert not any(".bin" in path for path in hub.requests)
    write_gallery(tmp_path / "photos")
    sketch = Image.new("L", (80, 80), 255)
    sketch.paste(0, (20, 30, 60, 34))
    sketch.save(tmp_path / "sketch.png")
    served = len(hub.requests)
    assert duet("index", tmp_path / "photos", "--kit", name) == 0
    capsys.readouterr()
    query = ("--sketch", tmp_path / "sketch.png", "--text", "a red chair", "--top-k", 3)
    assert duet("search", *query, "--index", tmp_path / "photos", "--kit", name, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 3
    assert len(hub.requests) == served
    if name in ("siglip2-b32", "pe-core-l14"):
        index = ("--index", tmp_path / "photos", "--kit", name)
        assert duet("search", *query, *index, "--composer", "inversion") == 2
        assert "has no space of tokens" in capsys.readouterr().err
        assert duet("search", *query, *index, "--evidence") == 2
        assert "as its CLIP pools patches by attention" in capsys.readouterr().err


def test_a_kit_that_is_absent_is_named_without_a_socket(hub, tmp_path, capsys, no_sockets):
    sketch = tmp_path / "sketch.png"
    Image.new("L", (20, 20), 255).save(sketch)
    for arguments in (
        ("demo", "--no-browser"),
        ("search", "--text", "red"),
        ("generate", "--text", "red", "--output", tmp_path / "out.png"),
    ):
        for name in ("sd15", "sdxl-lightning"):
            assert duet(*arguments, "--kit", name) == 2
            said = capsys.readouterr().err
            assert f"The kit '{name}' needs {CLIP_L14}, which is not on this machine." in said
            assert f"duet kits fetch {name}" in said
            assert "\n" not in said.strip()
    assert hub.requests == []
    assert not (tmp_path / "world/duet").exists()


def test_the_list_says_what_is_present_without_a_socket(hub, capsys, monkeypatch):
    assert duet("kits", "fetch", "clip-b32", "--yes") == 0
    hub.requests.clear()
    capsys.readouterr()
    assert duet("kits", "--json") == 0
    kits = {kit["name"]: kit for kit in json.loads(capsys.readouterr().out)["kits"]}
    assert set(kits) == set(embedded_kits())
    present = {name for name, kit in kits.items() if kit["present"]}
    assert present == {"mini", "mini-fast", "clip-b32"}
    assert kits["sd15"]["download_bytes"] > 4_000_000_000
    assert [part["name"] for part in kits["sd15-lcm"]["parts"]] == [
        "CLIP",
        "pipeline",
        "control network",
        "LoRA lcm",
    ]
    assert duet("kits") == 0
    assert "Not downloaded (605 MB)" not in capsys.readouterr().out
    assert hub.requests == []


def test_a_download_is_confirmed_first(hub, capsys, monkeypatch):
    assert duet("kits", "fetch", "clip-l14") == 2
    assert "Confirm with --yes" in capsys.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for answer, code in (("n\n", 2), ("\n", 2), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        assert not any("resolve" in path for path in hub.requests)
        assert duet("kits", "fetch", "clip-l14") == code
    said = capsys.readouterr()
    assert "Nothing was downloaded" in said.err
    assert f"{CLIP_L14}, " in said.out
    assert duet("kits", "fetch", "clip-l14") == 0  # nothing is left to confirm


def test_a_file_of_another_content_or_a_missing_one_leaves_nothing_locked(hub, tmp_path, capsys):
    hub.announced["model.safetensors"] = "0" * 64
    assert duet("kits", "fetch", "clip-l14", "--yes") == 2
    assert "is not the file that the hub announced" in capsys.readouterr().err
    assert not (tmp_path / "world/duet/kits.lock").exists()
    del hub.announced["model.safetensors"]
    del hub.repositories[CLIP_L14]["model.safetensors"]
    assert duet("kits", "fetch", "clip-l14", "--yes") == 2
    said = capsys.readouterr().err
    assert "has no file 'model.safetensors'" in said
    assert "\n" not in said.strip()


def test_a_download_that_breaks_is_resumed(hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.break_after = 100_000
    assert duet("kits", "fetch", "clip-l14", "--yes") == 2
    said = capsys.readouterr().err.strip()
    assert "was interrupted" in said
    assert duet("search", "--text", "red", "--kit", "clip-l14") == 2
    hub.break_after = None
    assert duet("kits", "fetch", "clip-l14", "--yes") == 0
    assert duet("kits", "fetch", "clip-l14") == 0


def test_removing_keeps_what_another_kit_uses(hub, tmp_path, capsys):
    for name in ("clip-l14", "clip-b32"):
        assert duet("kits", "fetch", name, "--yes") == 0
    assert duet("kits", "remove", "sd15") == 0
    assert f"{CLIP_L14} stays: the kit clip-l14 uses it." in capsys.readouterr().out
    assert duet("kits", "remove", "clip-l14") == 0
    assert duet("search", "--text", "red", "--kit", "clip-l14") == 2
    assert duet("kits", "fetch", "clip-b32") == 0
    assert duet("kits", "remove", "mini") == 2
    assert "there is nothing to remove" in capsys.readouterr().err


def test_bad_arguments_are_one_sentence(hub, capsys):
    assert duet("kits", "fetch") == 2
    assert "Name the kit: duet kits fetch NAME" in capsys.readouterr().err
    assert duet("kits", "fetch", "sd16") == 2
    assert "There is no kit 'sd16'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(embedded_kits()))
def test_every_shipped_kit_names_safe_files_their_size_and_licence(name):
    kit = read_kit_file(name)
    assert (kit.name, kit.knows != "", kit.licence != "") == (name, True, True)
    for part in kit.parts.values():
        if kit.sources:
            assert part.size_bytes > 1_000_000
            assert part.licence
    assert all("*" not in pattern for source in kit.sources for pattern in source.patterns)
