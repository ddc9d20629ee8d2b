"""Damaged kits and odd addresses: one sentence, exit code 2, and nothing is fetched."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from generation.judge import Judge, JudgeError
from retrieval.confidence import load_calibrations
from retrieval.errors import CalibrationError
from studio.cli import main
from studio.errors import USER_ERRORS, UsageError
from studio.ui.security import Access
from tests.studio.page import QUEUE_STATISTICS, World, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

Header = dict[str, Any]
DEEP = "[" * 100_000
CLIP = "clip/open_clip_model.safetensors"
TEXT = "pipeline/text_encoder/model.safetensors"
JUDGE = Path(__file__).parents[2] / "assets" / "models" / "mini" / "judge.safetensors"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return shared_world(tmp_path_factory)


@pytest.fixture
def kit(world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.kit, tmp_path / "kit"))


def rewrite_header(path: Path, change: Callable[[Header], Header | None] | bytes) -> None:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    if isinstance(change, bytes):
        text = change
    else:
        header = json.loads(data[8:start])
        text = json.dumps(change(header) or header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def first(header: Header) -> str:
    return next(name for name in header if name != "__metadata__" and header[name]["shape"])


def drop(header: Header) -> None:
    del header[first(header)]


def rename(header: Header) -> None:
    header["other"] = header.pop(first(header))


def flatten(header: Header) -> None:
    for name, entry in header.items():
        if name != "__metadata__" and len(entry["shape"]) > 1:
            entry["shape"] = [entry["data_offsets"][1] - entry["data_offsets"][0]]
            entry["shape"][0] //= {"F32": 4, "F16": 2}[entry["dtype"]]


DAMAGE = {
    "a tensor is missing": drop,
    "a tensor has another name": rename,
    "tensors have another shape": flatten,
    "no tensors": b"{}",
    "a deep header": DEEP.encode(),
    "no JSON": b"\xff\xfe",
}


def sentence(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence that a command ends with."""
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed.splitlines()[-1]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_clip_is_a_sentence(kit: Path, world: World, capsys, damage):
    rewrite_header(kit / CLIP, damage)
    said = sentence(capsys, "search", "--kit", kit, "--index", world.index, "--text", "red")
    assert "clip" in said


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_text_encoder_is_a_sentence(kit: Path, tmp_path: Path, capsys, damage):
    rewrite_header(kit / TEXT, damage)
    output = tmp_path / "out.png"
    said = sentence(capsys, "generate", "--kit", kit, "--text", "red", "--output", output)
    assert "text_encoder" in said
    assert not output.exists()


@pytest.mark.parametrize("settings", ["{", "[]", '{"hidden_size": "x"}', DEEP])
def test_damaged_settings_of_the_text_encoder_are_a_sentence(kit: Path, tmp_path, capsys, settings):
    (kit / "pipeline" / "text_encoder" / "config.json").write_text(settings)
    output = tmp_path / "out.png"
    said = sentence(capsys, "generate", "--kit", kit, "--text", "red", "--output", output)
    assert "text_encoder" in said


def metadata(key: str, value: str | None) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        header["__metadata__"].pop(key)
        if value is not None:
            header["__metadata__"][key] = value

    return change


JUDGE_DAMAGE = {
    **{name: damage for name, damage in DAMAGE.items() if damage is not flatten},
    "no kinds": metadata("kinds", None),
    "kinds are no list": metadata("kinds", "3"),
    "kinds are deep": metadata("kinds", DEEP),
    "too few kinds": metadata("kinds", '["chair"]'),
    "parts are no list": metadata("parts", "{}"),
    "no colours": metadata("colours", "[]"),
    "another schema": metadata("schema", "other"),
}


@pytest.mark.parametrize("damage", JUDGE_DAMAGE.values(), ids=JUDGE_DAMAGE)
def test_a_damaged_judge_is_a_sentence(tmp_path: Path, damage):
    file = tmp_path / "judge.safetensors"
    file.write_bytes(JUDGE.read_bytes())
    rewrite_header(file, damage)
    with pytest.raises(JudgeError, match=r"judge\.safetensors is .*\."):
        Judge.load(file)
    assert issubclass(JudgeError, USER_ERRORS)


@pytest.mark.parametrize(
    "text",
    [b'name = "\xff"', b"x = " + DEEP.encode(), b"[" + b".".join([b"a"] * 900) + b"]\nx = 1"],
    ids=["not UTF-8", "deep list", "deep table"],
)
def test_a_damaged_kit_file_is_a_sentence(kit: Path, world: World, capsys, text: bytes):
    file = kit / "kit.toml"
    file.write_bytes(file.read_bytes() + b"\n" + text)
    said = sentence(capsys, "search", "--kit", kit, "--index", world.index, "--text", "red")
    assert "kit.toml is" in said
    assert said.endswith("Reinstall the kit.")


@pytest.mark.parametrize("text", ["{", "[]", DEEP, '{"words": 3}', '{"words": {"weights": []}}'])
def test_a_damaged_confidence_file_is_a_sentence(kit: Path, world: World, capsys, text: str):
    confidence, file = kit / "confidence.json", kit / "kit.toml"
    confidence.write_text(text)
    weights = 'weights = "composers/duet.safetensors"'
    lines = file.read_text().replace(weights, f'{weights}\nconfidence = "confidence.json"')
    file.write_text(lines)
    said = sentence(capsys, "search", "--kit", kit, "--index", world.index, "--text", "red")
    assert "holds no calibrations; reinstall the kit" in said
    with pytest.raises(CalibrationError):
        load_calibrations(confidence)


@pytest.mark.parametrize(
    ("part", "key", "name"),
    [("text_cfg", "hf_model_name", "owner/model"), ("vision_cfg", "timm_model_name", "hf-hub:a/b")],
)
def test_a_local_clip_never_reaches_out(
    kit: Path, world: World, capsys, blocked_attempts: list[str], part: str, key: str, name: str
):
    """The network guard of the tests fails this one if anything is asked for."""
    file = kit / "clip" / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"][part][key] = name
    file.write_text(json.dumps(config))
    said = sentence(capsys, "search", "--kit", kit, "--index", world.index, "--text", "red")
    assert f"names {name!r} of a hub" in said
    assert blocked_attempts == []


@pytest.mark.parametrize("port", ["0", "-3", "65536", "99999"])
def test_a_port_that_is_none_is_a_sentence(world: World, capsys, port: str):
    options = ("--kit", world.kit, "--index", world.index, "--no-browser", "--port", port)
    assert "--port must be from 1 to 65535" in sentence(capsys, "demo", *options)


@pytest.mark.parametrize("name", ["a*b", "*", "*.", "a..b", "http://studio.example", "a/b", "a:80"])
def test_a_host_name_that_is_none_is_a_sentence(world: World, capsys, name: str):
    said = sentence(capsys, "demo", "--kit", world.kit, "--no-browser", "--allow-host", name)
    assert "is not the name of a host" in said


@pytest.mark.parametrize(
    "name", ["studio.example", "*.studio.example", "10.0.0.5", "[2001:db8::1]"]
)
def test_host_names_are_accepted(name: str):
    assert name in Access(allowed_hosts=(name,)).hosts
    with pytest.raises(UsageError, match="add --public"):
        Access(host="10.0.0.5", allowed_hosts=(name,))


def test_the_page_opens_at_the_loopback_address_of_ipv6(world: World):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with serve(world, Access(host="::1")) as server:
        assert server.address.startswith("http://[::1]:")
        assert httpx.get(f"{server.address}/config", timeout=60).status_code == 200
        foreign = {"host": "[::2]"}
        assert httpx.get(server.address, headers=foreign, timeout=60).status_code == 400
        origin = {"origin": server.address}
        answer = httpx.post(f"{server.address}/gradio_api/reset", headers=origin, timeout=60)
        assert answer.status_code != 403
