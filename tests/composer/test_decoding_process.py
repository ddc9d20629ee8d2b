"""Decoders that cannot be stopped run in a process that a limit and a stop end."""

import importlib.util
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from composer import decoding_process
from composer.images import ImageError, ImageLimits, open_image, open_picture
from tests.pictures import noise
from tests.profiles import PROPHOTO, matrix_profile

FORMATS: list[Any] = [
    "WEBP",
    "AVIF",
    pytest.param(
        "HEIF",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed"
        ),
    ),
]


class StoppedError(Exception):
    """The caller's own reason to stop."""


def encoded(image: Image.Image, fmt: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if fmt == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, fmt, **({"speed": 10} if fmt == "AVIF" else {}), **options)
    return buffer.getvalue()


def colourful(side: int = 900) -> Image.Image:
    return Image.merge("RGB", [noise((side, side - 100), 40, seed) for seed in range(3)])


@cache
def large(fmt: str) -> bytes:
    return encoded(colourful(1100), fmt)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch):
    """Processes of this test alone, which end with it."""
    opened = decoding_process._Workers()
    monkeypatch.setattr(decoding_process, "_WORKERS", opened)
    yield opened
    opened._close()


def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_process, "SMALL_PX", 1 << 40)
    monkeypatch.setattr(decoding_process, "SMALL_BYTES", 1 << 40)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pixels_turn_date_and_profile_are_the_same(
    workers, monkeypatch: pytest.MonkeyPatch, fmt: str, mode: str
):
    image = colourful().convert(mode)
    if mode == "RGBA":
        image.putalpha(noise(image.size, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2021:07:30 12:34:56"
    profile = matrix_profile(PROPHOTO, 1.8)
    data = encoded(image, fmt, exif=exif.tobytes(), icc_profile=profile)
    apart = open_picture(data)
    assert len(workers._idle) == 1
    in_process(monkeypatch)
    here = open_picture(data)
    assert (apart.taken, apart.width_px, apart.height_px) == ("2021-07-30T12:34:56", 800, 900)
    assert (here.taken, here.width_px, here.height_px) == ("2021-07-30T12:34:56", 800, 900)
    np.testing.assert_array_equal(np.asarray(apart.image), np.asarray(here.image))


def test_small_pictures_stay_in_this_process_and_large_ones_share_one(workers):
    open_image(encoded(colourful(400), "WEBP"))
    assert workers._idle == []
    for _ in range(3):
        open_image(encoded(colourful(), "WEBP"))
    assert len(workers._idle) == 1


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_slow_picture_is_refused_in_time(workers, fmt: str):
    limits = ImageLimits(max_s=0.02)
    with pytest.raises(ImageError, match=r"takes longer than 0\.02 s to decode; save it again\."):
        open_image(large(fmt), limits)
    assert open_image(large(fmt)).size == (1100, 1000)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_stop_reaches_a_decoder_that_runs(workers, fmt: str):
    """The stop comes when the process computes; a process that was stopped is replaced."""
    open_image(large(fmt))
    (worker,) = workers._idle
    num_checks = 0

    def stop_later() -> None:
        nonlocal num_checks
        num_checks += 1
        if num_checks == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        open_image(large(fmt), check=stop_later)
    assert not worker.is_alive
    assert workers._idle == []
    assert open_image(large(fmt)).size == (1100, 1000)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be halted here")
def test_a_process_that_is_killed_or_hangs_gives_one_sentence(
    workers, monkeypatch: pytest.MonkeyPatch
):
    data = encoded(colourful(), "WEBP")

    def halt() -> decoding_process._Worker:
        open_image(data)
        (worker,) = workers._idle
        os.kill(worker._process.pid, signal.SIGSTOP)
        return worker

    worker = halt()
    monkeypatch.setattr(decoding_process, "_PATIENCE", 1.0)
    with pytest.raises(ImageError, match=r"takes longer than 0\.3 s"):
        open_image(data, ImageLimits(max_s=0.3))
    assert not worker.is_alive

    worker = halt()

    def kill_at_work() -> None:
        if worker not in workers._idle:
            worker._process.kill()

    with pytest.raises(
        ImageError, match=r"^The image cannot be decoded: its decoder ended before it was done\.$"
    ):
        open_image(data, check=kill_at_work)
    worker = halt()
    worker._process.kill()
    time.sleep(0.1)
    assert open_image(data).size == (900, 800)  # one that ended while it waited costs nothing


@pytest.mark.parametrize("fmt", FORMATS)
def test_damage_is_told_and_costs_no_process(workers, fmt: str):
    options = {"lossless": True} if fmt == "WEBP" else {"quality": 90}
    data = bytearray(encoded(colourful(), fmt, **options))
    open_image(bytes(data))
    (worker,) = workers._idle
    start = 600 if fmt == "WEBP" else data.index(b"mdat") + 4
    data[start : start + 400] = b"\xff" * 400
    with pytest.raises(ImageError, match="is damaged and cannot be decoded"):
        open_image(bytes(data))
    assert workers._idle == [worker]


def no_such_program(tmp_path) -> str:
    return str(tmp_path / "python")


def other_program(tmp_path) -> str:
    program = tmp_path / "other"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o700)
    return str(program)


@pytest.mark.skipif(os.name == "nt", reason="programs are scripts here")
@pytest.mark.parametrize("program", [no_such_program, other_program])
def test_where_no_process_starts_pictures_are_decoded_in_this_one(
    workers, monkeypatch: pytest.MonkeyPatch, tmp_path, program: Callable[[Any], str]
):
    monkeypatch.setattr(sys, "executable", program(tmp_path))
    assert open_image(encoded(colourful(), "WEBP")).size == (900, 800)
    assert workers._idle == []
