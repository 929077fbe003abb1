"""Codes alone, as files: for a designer's own layout, a sticker, a screen.

All are vectors but for PNG, whose pixels are whole modules. Quiet zone and white ground are part
of the file, black is black ink alone, and equal symbols make equal bytes.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from makeready.cards.geometry import MM_PER_POINT
from makeready.cards.qr import Batch, Symbol
from makeready.cards.qr_look import Look

_DARK = re.compile("1+")


def qr_file(symbol: Symbol, kind: str, look: Look) -> bytes:
    """The file; raises KeyError for a kind that is none of `qr_look.MEDIA_TYPES`."""
    return _DRAWN[kind](symbol, look)


def qr_files(
    payloads: Sequence[str], kind: str, look: Look | None = None, *, level: str = "M"
) -> list[bytes]:
    """A file for each payload, all symbols of one version; raises qr.TooLong."""
    batch = Batch(payloads, level=level)
    return [qr_file(batch.symbol(payload), kind, look or Look()) for payload in payloads]


def _svg(symbol: Symbol, look: Look) -> bytes:
    side = symbol.size + 2 * look.quiet_zone
    path = "".join(
        f"M{column} {row}h{length}v1h-{length}z" for row, column, length in _runs(symbol, look)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{look.size_mm:g}mm"'
        f' height="{look.size_mm:g}mm" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f"<title>{escape(symbol.payload)}</title>"
        f'<path fill="#fff" d="M0 0h{side}v{side}H0z"/><path fill="#000" d="{path}"/></svg>\n'
    ).encode()


def _png(symbol: Symbol, look: Look) -> bytes:
    modules = symbol.size + 2 * look.quiet_zone
    zoom = max(1, round(look.size_mm / 25.4 * look.dpi / modules))
    side = modules * zoom
    white = b"\0" + _bits("0" * side)
    margin = white * (look.quiet_zone * zoom)
    quiet = "0" * (look.quiet_zone * zoom)
    lines = []
    for row in symbol.rows:
        dots = "".join(module * zoom for module in f"{row:0{symbol.size}b}")
        lines.append((b"\0" + _bits(f"{quiet}{dots}{quiet}")) * zoom)
    per_metre = round(side / look.size_mm * 1000)
    text = b"URL\0\0\0\0\0" + symbol.payload.encode()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">2L5B", side, side, 1, 0, 0, 0, 0)),
            _chunk(b"pHYs", struct.pack(">2LB", per_metre, per_metre, 1)),
            _chunk(b"iTXt", text),
            _chunk(b"IDAT", zlib.compress(margin + b"".join(lines) + margin, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _bits(dots: str) -> bytes:
    """A line of 1-bit gray, in which 1 is white; filled up to whole bytes."""
    length = -(-len(dots) // 8)
    filled = dots.ljust(8 * length, "1").translate({48: "1", 49: "0"})
    return int(filled, 2).to_bytes(length, "big")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def _pdf(symbol: Symbol, look: Look) -> bytes:
    modules = symbol.size + 2 * look.quiet_zone
    side = _real(look.size_mm / MM_PER_POINT)
    zoom = _real(look.size_mm / MM_PER_POINT / modules)
    boxes = " ".join(_upwards(symbol, look, "{} {} {} 1 re"))
    drawn = zlib.compress(
        f"q {zoom} 0 0 {zoom} 0 0 cm 0 0 0 0 k 0 0 {modules} {modules} re f"
        f" 0 0 0 1 k {boxes} f Q".encode()
    )
    box = f"[0 0 {side} {side}]"
    title = symbol.payload.encode("utf-16-be").hex().upper()
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox{box}/TrimBox{box}/Resources<<>>"
        "/Contents 4 0 R>>".encode(),
        b"<</Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream" % (len(drawn), drawn),
        f"<</Title<FEFF{title}>>>".encode(),
    )
    out, table = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), b"0000000000 65535 f \n"
    for number, body in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    name = hashlib.sha256(out).hexdigest()[:32]
    trailer = f"<</Size 6/Root 1 0 R/Info 5 0 R/ID[<{name}><{name}>]>>"
    end = f"trailer\n{trailer}\nstartxref\n{len(out)}\n%%EOF\n"
    return bytes(out) + b"xref\n0 6\n" + table + end.encode()


def _eps(symbol: Symbol, look: Look) -> bytes:
    modules = symbol.size + 2 * look.quiet_zone
    side = look.size_mm / MM_PER_POINT
    zoom = _real(side / modules)
    boxes = "\n".join(_upwards(symbol, look, "{} {} {} 1"))
    title = "".join(c if " " <= c <= "~" and c not in "()\\" else "_" for c in symbol.payload)
    return (
        "%!PS-Adobe-3.0 EPSF-3.0\n"
        f"%%BoundingBox: 0 0 {-int(-side // 1)} {-int(-side // 1)}\n"
        f"%%HiResBoundingBox: 0 0 {_real(side)} {_real(side)}\n"
        f"%%Title: {title[:200]}\n%%LanguageLevel: 2\n%%DocumentProcessColors: Black\n"
        f"%%EndComments\ngsave {zoom} dup scale\n"
        f"0 0 0 0 setcmykcolor 0 0 {modules} {modules} rectfill\n"
        f"0 0 0 1 setcmykcolor [\n{boxes}\n] rectfill\ngrestore\n%%EOF\n"
    ).encode()


def _runs(symbol: Symbol, look: Look) -> Iterator[tuple[int, int, int]]:
    """Row, column and length of dark modules in a row, from the file's upper left corner."""
    for row, modules in enumerate(symbol.rows):
        for found in _DARK.finditer(f"{modules:0{symbol.size}b}"):
            yield row + look.quiet_zone, found.start() + look.quiet_zone, len(found[0])


def _upwards(symbol: Symbol, look: Look, form: str) -> Iterator[str]:
    """The same for formats that measure from the lower left corner."""
    top = symbol.size + 2 * look.quiet_zone - 1
    for row, column, length in _runs(symbol, look):
        yield form.format(column, top - row, length)


def _real(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


_DRAWN: Mapping[str, Callable[[Symbol, Look], bytes]] = {
    "svg": _svg,
    "png": _png,
    "pdf": _pdf,
    "eps": _eps,
}
