"""The colour profile that PDF/A asks for: sRGB, made here from the numbers of IEC 61966-2-1.

A profile of ICC version 4 with a parametric curve: it needs no tables, so it is small, and it is
nobody's work but ours.
"""

from __future__ import annotations

import functools
import struct

NAME = "sRGB IEC61966-2.1"
_RIGHTS = "No rights reserved"
_D50 = (0.9642, 1.0, 0.8249)
_PRIMARIES = {  # adapted to D50, as every profile's are
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
_ADAPTATION = (
    1.04788, 0.02292, -0.05022,
    0.02959, 0.99048, -0.01707,
    -0.00925, 0.01508, 0.75168,
)  # fmt: skip
_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_PARAMETRIC = 3  # (a x + b)^g from d on, c x below
_VERSION = 0x04200000
_HEADER_BYTES = 128


@functools.cache
def srgb_profile() -> bytes:
    """The profile, always the same bytes."""
    curve = b"para" + bytes(4) + struct.pack(">HH", _PARAMETRIC, 0) + _fixed(*_CURVE)
    tags = {
        b"desc": _text(NAME),
        b"cprt": _text(_RIGHTS),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(*_ADAPTATION),
        **{name: b"XYZ " + bytes(4) + _fixed(*place) for name, place in _PRIMARIES.items()},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, places = b"", b"", dict[bytes, int]()
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    return _header(start + len(body)) + struct.pack(">I", len(tags)) + table + body


def _header(size: int) -> bytes:
    moment = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    head = struct.pack(">I4xI", size, _VERSION) + b"mntrRGB XYZ " + moment + b"acsp"
    return (head + bytes(28) + _fixed(*_D50)).ljust(_HEADER_BYTES, b"\0")


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    head = struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(data), 28)
    return head + data
