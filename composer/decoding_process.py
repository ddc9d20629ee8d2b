"""Decoding in another process, which a limit of time and a stop can end.

The decoders of WebP, AVIF and HEIC ask for the whole file at once and cannot be stopped in a
thread. Processes are started when they are needed and kept for the next picture.
"""

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import BinaryIO, TypeVar, cast

from PIL import Image

from composer.decoding_time import DecodingTimeError, Pace
from composer.decoding_worker import PIXEL_BYTES, READY, REQUEST, RESPONSE, stripes
from composer.image_formats import ImageFormat

IN_ONE_PIECE = (ImageFormat.WEBP, ImageFormat.AVIF, ImageFormat.HEIC)
# Smaller pictures are decoded in a few hundredths of a second, so they stay in this process.
SMALL_PX, SMALL_BYTES = 500_000, 256 << 10
_POLL_S = 0.02
_START_S = 60.0
# The limit is one of processor time, which passes more slowly where others compute, too.
_PATIENCE = 10.0 if hasattr(signal, "setitimer") else 1.0
_SIGPROF = getattr(signal, "SIGPROF", 0)
T = TypeVar("T")


class NoWorkerError(Exception):
    """No process can be started here."""


class WorkerEndedError(Exception):
    """The process ended before it answered, such as for lack of memory."""


def is_decoded_apart(image_format: ImageFormat, num_px: int, num_bytes: int) -> bool:
    """Tell whether a picture may take so long that it is decoded in another process."""
    return image_format in IN_ONE_PIECE and (num_px > SMALL_PX or num_bytes > SMALL_BYTES)


def decode_apart(
    data: bytes, image_format: ImageFormat, size: tuple[int, int], pace: Pace
) -> Image.Image:
    """Decode a picture in another process.

    Args:
        data: The file.
        image_format: Its format.
        size: Width and height as its header states them.
        pace: The time that is left, and the caller's stop; what its check raises passes through.

    Returns:
        The pixels, without metadata.

    Raises:
        DecodingTimeError: The time is over.
        NoWorkerError: No process can be started here.
        WorkerEndedError: The process ended.
        OSError: The file is damaged.
    """
    worker = _WORKERS.take(pace)
    try:
        image = worker.decode(data, image_format, size, pace)
    except OSError:
        _WORKERS.give_back(worker)
        raise
    except BaseException:
        worker.end()
        raise
    _WORKERS.give_back(worker)
    return image


class _Worker:
    """A process and its pipes."""

    def __init__(self, pace: Pace) -> None:
        root, paths = str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "composer.decoding_worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *([paths] if paths else ())])},
        )  # fmt: skip
        self._requests = cast("BinaryIO", self._process.stdin)
        self._responses = cast("BinaryIO", self._process.stdout)
        try:
            is_ready = self._wait(lambda: self._responses.read(1), pace, _START_S) == READY
        except BaseException:
            self.end()
            raise
        if not is_ready:
            self.end()
            raise NoWorkerError

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(
        self, data: bytes, image_format: ImageFormat, size: tuple[int, int], pace: Pace
    ) -> Image.Image:
        """Decode a picture as `decode_apart` does; after any error but OSError, call `end`."""
        max_s = max(pace.left_s, 1e-3)
        head = REQUEST.pack(image_format.value.encode(), max_s, len(data))
        image = self._wait(lambda: self._ask(head, data, size), pace, _PATIENCE * max_s)
        if image is None:
            self._process.kill()
            if self._process.wait() == -_SIGPROF:
                raise DecodingTimeError
            raise WorkerEndedError
        if image.size != size:
            raise OSError("The picture is damaged.")
        return image

    def end(self) -> None:
        """End the process and free its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._responses):
            with suppress(OSError):  # what was not sent is not needed
                pipe.close()

    def _ask(self, head: bytes, data: bytes, size: tuple[int, int]) -> Image.Image | None:
        """Exchange a file for pixels, none if it is damaged; None if the other end is gone."""
        try:
            self._requests.write(head)
            self._requests.write(data)
            self._requests.flush()
        except OSError:
            return None
        answer = self._responses.read(RESPONSE.size)
        if len(answer) < RESPONSE.size:
            return None
        packed, width, height = RESPONSE.unpack(answer)
        mode = packed.rstrip(b"\0").decode()
        if mode not in PIXEL_BYTES or (width, height) not in (size, (0, 0)):
            return None
        image = Image.new(mode, (width, height))
        for box in stripes(width, height):
            rows = (width, box[3] - box[1])
            pixels = self._responses.read(rows[0] * rows[1] * PIXEL_BYTES[mode])
            if len(pixels) < rows[0] * rows[1] * PIXEL_BYTES[mode]:
                return None
            image.paste(Image.frombytes(mode, rows, pixels), box)
        return image

    def _wait(self, work: Callable[[], T], pace: Pace, max_s: float) -> T | None:
        """Do work of the pipes in a thread, so that a stop is noticed meanwhile."""
        results: list[T] = []
        thread = Thread(target=lambda: results.append(work()), daemon=True)
        end_s = time.monotonic() + max_s
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                pace.check()
                if time.monotonic() > end_s:
                    raise DecodingTimeError
        except BaseException:
            self._process.kill()
            thread.join()
            raise
        return results[0] if results else None


class _Workers:
    """The processes of this one that wait for a picture."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._lock, self._owner, self._can_start = Lock(), 0, True

    def take(self, pace: Pace) -> _Worker:
        """Return a process that is ready, started if none is.

        Raises:
            NoWorkerError: None can be started; it is not tried again.
        """
        if self._owner != os.getpid():  # the first use, or a fork, which shares no pipes
            self._idle, self._lock, self._owner = [], Lock(), os.getpid()
            atexit.register(self._close)
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    return worker
                worker.end()
        if not self._can_start:
            raise NoWorkerError
        try:
            return _Worker(pace)
        except (OSError, NoWorkerError) as error:
            self._can_start = False
            raise NoWorkerError from error

    def give_back(self, worker: _Worker) -> None:
        """Keep a process for the next picture."""
        with self._lock:
            if len(self._idle) < (os.cpu_count() or 1):
                self._idle.append(worker)
                return
        worker.end()

    def _close(self) -> None:
        if self._owner == os.getpid():
            for worker in self._idle:
                worker.end()
            self._idle.clear()


_WORKERS = _Workers()
