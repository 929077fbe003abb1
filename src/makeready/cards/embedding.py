"""A cut font as PDF objects: one of two-byte codes, with what it takes to read them back."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TypeAlias

from makeready.cards.fonts import Subset

Part: TypeAlias = tuple[str, bytes | None]
"""As `drawing.PdfPart`."""


def font_parts(subset: Subset) -> tuple[Part, ...]:
    """The font, and what it refers to."""
    head = f"<< /Type /Font /Subtype /Type0 /BaseFont /{subset.name} /Encoding /Identity-H"
    parts: list[Part] = [
        (f"{head} /DescendantFonts [{{1}}] /ToUnicode {{4}} >>", None),
        (_descendant(subset), None),
        (_descriptor(subset), None),
        _file(subset),
        _stream("<< /Filter /FlateDecode >>", _to_unicode(subset)),
    ]
    if not subset.is_cff:
        glyphs = b"".join(glyph.to_bytes(2) for glyph in subset.glyphs)
        parts.append(_stream("<< /Filter /FlateDecode >>", glyphs))
    return tuple(parts)


def _descendant(subset: Subset) -> str:
    kind = "CIDFontType0" if subset.is_cff else "CIDFontType2"
    cid_map = "" if subset.is_cff else " /CIDToGIDMap {5}"
    widths = " ".join(str(width) for width in subset.widths)
    return (
        f"<< /Type /Font /Subtype /{kind} /BaseFont /{subset.name}"
        " /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >>"
        f" /FontDescriptor {{2}} /DW 1000 /W [0 [{widths}]]{cid_map} >>"
    )


def _descriptor(subset: Subset) -> str:
    file = "FontFile3" if subset.is_cff else "FontFile2"
    box = " ".join(str(side) for side in subset.box)
    return (
        f"<< /Type /FontDescriptor /FontName /{subset.name} /Flags 4 /FontBBox [{box}]"
        f" /ItalicAngle {subset.italic_angle:g} /Ascent {subset.ascent}"
        f" /Descent {subset.descent} /CapHeight {subset.cap_height} /StemV 80 /{file} {{3}} >>"
    )


def _file(subset: Subset) -> Part:
    if subset.is_cff:
        return _stream("<< /Subtype /CIDFontType0C /Filter /FlateDecode >>", subset.data)
    return _stream(f"<< /Length1 {len(subset.data)} /Filter /FlateDecode >>", subset.data)


def _stream(head: str, data: bytes) -> Part:
    return head, zlib.compress(data, 9)


def _to_unicode(subset: Subset) -> bytes:
    """Which character each code is, for those who search and copy."""
    pairs = sorted((code, char.encode("utf-16-be").hex()) for char, code in subset.codes.items())
    return "\n".join(
        [
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
            "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
            "1 begincodespacerange <0000> <ffff> endcodespacerange",
            *_mappings(pairs),
            "endcmap CMapName currentdict /CMap defineresource pop end end",
        ]
    ).encode()


def _mappings(pairs: list[tuple[int, str]]) -> Iterable[str]:
    """A hundred at most in one group."""
    for start in range(0, len(pairs), 100):
        group = pairs[start : start + 100]
        yield f"{len(group)} beginbfchar"
        yield from (f"<{code:04x}> <{char}>" for code, char in group)
        yield "endbfchar"
