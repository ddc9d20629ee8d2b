"""Decoding ends in time: bombs of scans, chunks and segments, and a stop on the way."""

import time
from collections.abc import Callable

import pytest

from composer import image_formats
from composer.decoding_time import DecodingTimeError, Pace, PacedBytes
from composer.images import ImageError, ImageLimits, is_large, open_image
from tests.pictures import chunk_bomb, encoded, noise, scan_bomb, segment_bomb


class StoppedError(Exception):
    """The caller's own reason to stop."""


@pytest.mark.parametrize("bomb", [chunk_bomb, segment_bomb])
def test_chunks_and_segments_are_counted_before_a_file_is_opened(
    bomb: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
):
    def opened(*_args: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(image_formats, "PngImageFile", opened)
    monkeypatch.setattr(image_formats, "JpegImageFile", opened)
    with pytest.raises(ImageError, match="is damaged"):
        open_image(bomb())
    assert not is_large(bomb())


def test_a_few_thousand_chunks_are_read():
    """Encoders write pixels in chunks of 8 KiB, so a large picture has thousands."""
    assert open_image(chunk_bomb(8_000)).size == (8, 8)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
def test_a_slow_file_is_refused_in_time(fmt: str):
    data = encoded(noise((3000, 3000), 60), fmt)
    with pytest.raises(ImageError, match=r"takes longer than 0\.01 s to decode; save it again\."):
        open_image(data, ImageLimits(max_s=0.01))


def test_scans_are_limited_by_what_each_costs():
    """Sixty scans are a trifle for a small picture and a minute for the largest."""
    assert open_image(scan_bomb(64, 60)).size == (64, 64)
    with pytest.raises(ImageError, match="more than 55 scans"):
        open_image(scan_bomb(6000, 60))


def test_segments_between_scans_are_limited():
    """They would be counted before anything is decoded, which has no pieces."""
    whole = encoded(noise((64, 64), 40), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    bomb = whole[:last] + b"\xff\xfe\0\2" * 30_000 + whole[last:]
    for data in (bomb, bomb[:-2]):
        with pytest.raises(ImageError, match="is damaged"):
            open_image(data)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WebP"])
def test_a_stop_reaches_the_decoder(fmt: str):
    num_checks = 0

    def stop_on_the_way() -> None:
        nonlocal num_checks
        num_checks += 1
        if num_checks == 3 or fmt == "WebP":
            raise StoppedError

    data = encoded(noise((1200, 1200), 40), fmt)
    with pytest.raises(StoppedError):
        open_image(data, check=stop_on_the_way)
    calls = iter(range(10**6))
    assert open_image(data, check=lambda: next(calls) and None).size == (1200, 1200)


def test_time_of_other_threads_does_not_count():
    pace = Pace(0.05)
    time.sleep(0.2)
    assert PacedBytes(b"data", pace).read() == b"data"
    with pytest.raises(DecodingTimeError):
        PacedBytes(b"data", Pace(-1.0)).read()
