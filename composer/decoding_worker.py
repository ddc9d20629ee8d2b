"""The process that decodes pictures whose decoders cannot be stopped on the way.

It reads files from its standard input and writes pixels to its standard output, one picture after
another, until its input ends. Nothing but numbers, names of formats and bytes is exchanged.
`composer.decoding_process` starts it as `python -m composer.decoding_worker`.
"""

import os
import signal
import struct
import sys
from io import BytesIO
from typing import BinaryIO

from PIL import Image

from composer.image_formats import ImageFormat, open_format

READY = b"\1"
REQUEST = struct.Struct("<4sdQ")  # format, seconds of the processor, bytes that follow
RESPONSE = struct.Struct("<8sQQ")  # mode, width, height; pixels follow, none if a side is 0
PIXEL_BYTES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 2}  # by mode
STRIPE_PX = 256
_HAS_TIMERS = hasattr(signal, "setitimer")


def stripes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return the boxes in which pixels travel, so that no second copy of a picture is needed."""
    tops = range(0, height, STRIPE_PX)
    return [(0, top, width, min(top + STRIPE_PX, height)) for top in tops]


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Answer requests until their stream ends."""
    responses.write(READY)
    responses.flush()
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        name, max_s, num_bytes = REQUEST.unpack(head)
        data = requests.read(num_bytes)
        if len(data) < num_bytes:
            return
        _limit_time(max_s)
        try:
            image = _decode(data, ImageFormat(name.decode()))
        except Exception:  # whatever a decoder raises
            image = Image.new("L", (0, 0))
        _limit_time(0.0)
        responses.write(RESPONSE.pack(image.mode.encode(), *image.size))
        for box in stripes(*image.size):
            responses.write(image.crop(box).tobytes())
        responses.flush()


def _decode(data: bytes, image_format: ImageFormat) -> Image.Image:
    image = open_format(BytesIO(data), image_format)
    image.load()
    return image if image.mode in PIXEL_BYTES else image.convert("RGBA")


def _limit_time(max_s: float) -> None:
    """Have the system end this process after a time of the processor; 0 for never."""
    if _HAS_TIMERS:
        signal.setitimer(signal.ITIMER_PROF, max_s)


def main() -> None:
    """Serve the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started it
    if _HAS_TIMERS:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for pixels
    serve(sys.stdin.buffer, responses)


if __name__ == "__main__":
    main()
