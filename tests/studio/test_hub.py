"""Downloads of public weights, from a hub on loopback."""

import json
import socket

import pytest

from studio import hub as module
from studio.hub import Hub, HubFile, HubSource, readable
from studio.kit_contents import KitError
from tests.studio.fake_hub import REPOSITORY, SHA, serve

WEIGHTS = bytes(range(256)) * 4000
FILES = {
    "unet/config.json": b"{}",
    "unet/model.safetensors": WEIGHTS,
    "unet/model.bin": b"a pickle",
    "README.md": b"words",
}
SOURCE = HubSource(repository=REPOSITORY, patterns=("unet/*.json", "unet/*.safetensors"))


@pytest.fixture
def served():
    with serve(dict(FILES)) as fake:
        yield fake


@pytest.fixture
def local(served, tmp_path):
    return Hub(tmp_path / "kits.lock", cache=tmp_path / "cache", endpoint=served.endpoint)


def test_a_source_is_fetched_verified_and_locked(local, served):
    reported: list[HubFile] = []
    folder = local.fetch(SOURCE, report=reported.append)
    assert (folder / "unet/model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "unet/config.json").read_bytes() == b"{}"
    assert sorted(file.name for file in reported) == ["unet/config.json", "unet/model.safetensors"]
    assert not any("README" in path or ".bin" in path for path in served.requests)
    assert json.loads(local.lock.read_text())[REPOSITORY]["revision"] == SHA


def test_what_is_present_needs_no_socket(local, served, monkeypatch):
    folder = local.fetch(SOURCE)

    def no_socket(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    assert local.locate(SOURCE, kit="sd15") == folder
    assert local.fetch(SOURCE) == folder


def test_what_is_absent_is_named_without_a_socket(local, served, monkeypatch):
    def no_socket(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(KitError, match="duet kits fetch sd15"):
        local.locate(SOURCE, kit="sd15")


def test_a_file_that_was_cut_or_deleted_is_absent(local):
    folder = local.fetch(SOURCE)
    weights = (folder / "unet/model.safetensors").resolve()
    weights.write_bytes(WEIGHTS[:100])
    with pytest.raises(KitError, match=r"needs unet/model\.safetensors of owner/model"):
        local.locate(SOURCE, kit="sd15")
    weights.unlink()
    assert [file.name for file in local.missing(local.locked(SOURCE))] == ["unet/model.safetensors"]


def test_a_broken_download_locks_nothing_and_keeps_complete_files(local, served, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    served.break_after = 300_000
    with pytest.raises(KitError, match=r"was interrupted .* Run the command again"):
        local.fetch(SOURCE)
    assert not local.lock.exists()
    assert served.starts[:3] == [0, 0, 300_000]  # the small file, the large one, its resumption
    served.break_after = None
    served.starts.clear()
    folder = local.fetch(SOURCE)
    assert (folder / "unet/model.safetensors").read_bytes() == WEIGHTS
    assert len(served.starts) == 1


def test_another_content_than_announced_is_deleted(local, served):
    served.announced["unet/model.safetensors"] = "0" * 64
    with pytest.raises(KitError, match="not the file that the hub announced"):
        local.fetch(SOURCE)
    assert not local.lock.exists()
    del served.announced["unet/model.safetensors"]
    assert local.fetch(SOURCE).is_dir()


def test_a_missing_file_and_a_missing_repository_are_one_sentence(local, served):
    lacking = HubSource(repository=REPOSITORY, patterns=("vae/*.safetensors",))
    with pytest.raises(KitError, match=r"has no file 'vae/\*\.safetensors'"):
        local.fetch(lacking)
    with pytest.raises(KitError, match="There is no repository other/model"):
        local.fetch(HubSource(repository="other/model", patterns=("*.json",)))


def test_a_hub_that_does_not_answer_is_one_sentence(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    away = Hub(tmp_path / "kits.lock", cache=tmp_path / "cache", endpoint=address)
    with pytest.raises(KitError, match="was interrupted"):
        away.fetch(SOURCE)


@pytest.mark.parametrize("pattern", ["*.bin", "unet/*", "model.ckpt", "x.pt"])
def test_formats_that_can_run_code_are_refused(pattern):
    with pytest.raises(KitError, match="other formats are not downloaded"):
        HubSource(repository=REPOSITORY, patterns=(pattern,))


def test_a_disk_that_is_too_small_is_told_before_the_download(local, served, monkeypatch):
    usage = module.shutil.disk_usage("/")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(KitError, match=r"takes 1 MB .* has 1 kB left"):
        local.fetch(SOURCE)
    assert not any("resolve" in path for path in served.requests)


def test_removing_frees_the_disk_and_the_lock(local):
    local.fetch(SOURCE)
    assert local.remove([SOURCE]) >= len(WEIGHTS)
    assert local.locked(SOURCE) is None
    with pytest.raises(KitError, match="not on this machine"):
        local.locate(SOURCE, kit="sd15")
    assert local.remove([SOURCE]) == 0


def test_a_damaged_lock_is_one_sentence(local):
    local.lock.write_text("{")
    with pytest.raises(KitError, match=r"kits\.lock is damaged"):
        local.locked(SOURCE)


def test_sizes_are_readable():
    assert [readable(n) for n in (12, 999_000, 605_109_252, 6_938_078_334)] == [
        "12 bytes",
        "999 kB",
        "605 MB",
        "6.9 GB",
    ]
