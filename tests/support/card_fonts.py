"""Font files as people upload them, made of the shipped one's letters."""

from __future__ import annotations

import functools
import io

import pymupdf_fonts
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

LETTERS = "Стол №0123456789ЙёЗал" + "Table gjp-"


@functools.cache
def truetype(chars: str = LETTERS, *, fs_type: int = 0, name: str = "Probe-Regular") -> bytes:
    """A TrueType file."""
    font = TTFont(io.BytesIO(_cut(chars)), recalcTimestamp=False)
    font["OS/2"].fsType = fs_type
    font["name"].setName(name, 6, 3, 1, 0x409)
    return _saved(font)


@functools.cache
def opentype(chars: str = LETTERS, *, twins: str = "") -> bytes:
    """An OpenType file of CFF; each of `twins` is drawn by the glyph of the first."""
    source = TTFont(io.BytesIO(pymupdf_fonts.myfont("notosbo")))
    cmap, glyphs = source.getBestCmap(), source.getGlyphSet()
    names = {char: f"glyph{number}" for number, char in enumerate(chars)}
    strings, metrics = {}, {}
    for char, own in [("", ".notdef"), *names.items()]:
        name = cmap[ord(char)] if char else ".notdef"
        pen = T2CharStringPen(glyphs[name].width, glyphs)
        glyphs[name].draw(pen)
        strings[own] = pen.getCharString()
        metrics[own] = (glyphs[name].width, 0)
    builder = FontBuilder(1000, isTTF=False)
    builder.setupGlyphOrder([".notdef", *names.values()])
    mapped = {ord(char): own for char, own in names.items()}
    mapped |= {ord(char): names[twins[0]] for char in twins}
    builder.setupCharacterMap(mapped)
    builder.setupCFF("Probe-Bold", {}, strings, {})
    builder.setupHorizontalMetrics(metrics)
    builder.setupHorizontalHeader(ascent=1069, descent=-293)
    builder.setupOS2(fsType=0, version=1)
    builder.setupNameTable({"familyName": "Probe", "styleName": "Bold", "psName": "Probe-Bold"})
    builder.setupPost()
    return _saved(builder.font)


@functools.cache
def _cut(chars: str) -> bytes:
    """It takes a second: once for all that differ in a few words."""
    font = TTFont(io.BytesIO(pymupdf_fonts.myfont("notos")), recalcTimestamp=False)
    cutter = Subsetter(Options(recalc_timestamp=False))
    cutter.populate(text=chars)
    cutter.subset(font)
    return _saved(font)


def _saved(font: TTFont) -> bytes:
    target = io.BytesIO()
    font.save(target)
    return target.getvalue()
