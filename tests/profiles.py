"""ICC profiles built by hand, and the colours that they mean, worked out without Pillow."""

import struct

import numpy as np

# Columns of red, green and blue in the profile connection space (D50).
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))
D50 = (0.9642, 1.0, 0.8249)


def matrix_profile(columns, gamma):
    """A profile of three primaries and one gamma."""
    tags = [(b"wtpt", _xyz(D50)), (b"desc", _description())]
    for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags += [(name + b"XYZ", _xyz(column)), (name + b"TRC", _curve(gamma))]
    return _profile(b"RGB ", b"XYZ ", tags)


def grey_profile(gamma):
    tags = [(b"wtpt", _xyz(D50)), (b"desc", _description()), (b"kTRC", _curve(gamma))]
    return _profile(b"GRAY", b"XYZ ", tags)


def ink_profile(lab_of_inks):
    """A profile of four inks, given the colour of each mixture of full inks; black is black."""
    grid = []
    for corner in range(16):
        cyan, magenta, yellow, black = (
            corner >> 3 & 1,
            corner >> 2 & 1,
            corner >> 1 & 1,
            corner & 1,
        )
        lightness, a, b = (5, 0, 0) if black else lab_of_inks[cyan, magenta, yellow]
        grid += [round(lightness * 2.55), round(a + 128), round(b + 128)]
    identity = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix
    table += identity * 4 + bytes(grid) + identity * 3
    tags = [(b"wtpt", _xyz(D50)), (b"desc", _description()), (b"A2B0", table), (b"A2B1", table)]
    return _profile(b"CMYK", b"Lab ", tags, kind=b"prtr")


def levels_in(columns, gamma, srgb):
    """The levels that a colour of sRGB (0 to 255) has in a space of other primaries."""
    linear = np.asarray(srgb) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    xyz = np.array(SRGB).T @ linear
    there = np.linalg.solve(np.array(columns).T, xyz).clip(0, 1)
    return (255 * there ** (1 / gamma)).round().astype(np.uint8)


def srgb_of_lab(lightness, a, b):
    """The colour of sRGB (0 to 255) nearest to one of CIELAB."""
    base = (lightness + 16) / 116
    parts = np.array([base + a / 500, base, base - b / 200])
    xyz = np.array(D50) * np.where(parts > 6 / 29, parts**3, 3 * (6 / 29) ** 2 * (parts - 4 / 29))
    linear = np.linalg.solve(np.array(SRGB).T, xyz).clip(0, 1)
    levels = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * levels


def _profile(space, connection, tags, kind=b"mntr"):
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"none", 0x02400000, kind, space, connection
    )
    header += struct.pack(">6H4s", 2026, 11, 28, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", *(round(value * 65536) for value in D50))
    return header.ljust(128, b"\0") + table + body


def _xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _description():
    text = b"test\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
