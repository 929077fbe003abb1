"""Fonts: what they can draw, whether they may travel with a file, and cut down to a batch.

Shipped are Noto Sans regular and bold; others are uploaded as TrueType or OpenType files.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pymupdf_fonts
from fontTools import subset
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.boundsPen import BoundsPen
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.ttLib import TTFont

SHIPPED: Mapping[tuple[str, str], str] = {
    ("noto-sans", "regular"): "notos",
    ("noto-sans", "bold"): "notosbo",
}
"""By family and weight, as the package that brings them names them."""

_RESTRICTED, _USAGE, _LEAST = 0x0002, 0x000F, 0x000C
_WHOLE_ONLY, _BITMAPS_ONLY = 0x0100, 0x0200
_KEPT_SUBSETS = 8

logging.getLogger("fontTools").setLevel(logging.CRITICAL)  # what is wrong is said by BadFont


class BadFont(ValueError):
    """The file is no font that can be used; the argument says why, for people who know fonts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """A font that has the characters of a batch and no others; codes are two bytes."""

    name: str
    """PostScript name with its tag, such as ABCDEF+NotoSans-Bold."""
    data: bytes
    is_cff: bool
    """A bare CFF table, not a TrueType file."""
    codes: Mapping[str, int]
    """What stands in the text for each character."""
    glyphs: tuple[int, ...]
    """The font's glyph of each code, from 0."""
    widths: tuple[int, ...]
    """Of each code, in thousandths of the size."""
    box: tuple[int, int, int, int]
    ascent: int
    descent: int
    cap_height: int
    italic_angle: float


class Font:
    """One font file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._inks: dict[str, tuple[float, float]] = {}
        self._advances: dict[str, float] = {}
        self._subsets: dict[str, Subset] = {}
        with _readable():
            self._font = _opened(data)
            if "glyf" not in self._font and "CFF " not in self._font:
                raise BadFont("no outlines of TrueType or CFF")
            self._cmap: dict[int, str] = self._font.getBestCmap() or {}
            if not self._cmap:
                raise BadFont("no Unicode character map")
            self._glyphs = self._font.getGlyphSet()
            self._units = int(self._font["head"].unitsPerEm)
            self._metrics: Any = self._font["hmtx"]
            self._os2: Any = self._font.get("OS/2")
            self.name = _postscript_name(self._font)
            self.ascent = self._font["hhea"].ascent / self._units
            self.descent = -self._font["hhea"].descent / self._units
            self.cap_height = self._cap_height()
            """Of the size, as ascent and descent."""
            self.embedding = self._embedding()
            """Why its licence keeps it out of a PDF (OS/2.fsType), or nothing."""

    def _embedding(self) -> str:
        bits = int(self._os2.fsType) if self._os2 is not None else 0
        if bits & _RESTRICTED and not bits & _LEAST:
            return "restricted"
        if bits & _BITMAPS_ONLY:
            return "bitmaps_only"
        return "no_subsetting" if bits & _WHOLE_ONLY else ""

    def has(self, char: str) -> bool:
        """Whether there is a glyph for the character."""
        return ord(char) in self._cmap

    def missing(self, text: str) -> list[str]:
        """The characters without a glyph that is seen, in order of their code points."""
        return sorted({char for char in text if not self._shows(char)})

    def advance(self, text: str) -> float:
        """The length of the text at size 1; a character without a glyph has the length of none."""
        known = self._advances
        try:
            return sum([known[char] for char in text])
        except KeyError:
            for char in text:
                glyph = self._cmap.get(ord(char), ".notdef")
                known[char] = self._metrics.metrics.get(glyph, (0, 0))[0] / self._units
            return sum([known[char] for char in text])

    def ink(self, text: str) -> tuple[float, float]:
        """How far the text reaches above the base line, and below it, at size 1."""
        inks = [self._inks.get(char) or self._ink(char) for char in text]
        return max((up for up, _ in inks), default=0.0), max((low for _, low in inks), default=0.0)

    def subset(self, chars: Iterable[str]) -> Subset:
        """Cut down to these characters; the same ones make the same bytes. Raises BadFont."""
        wanted = "".join(sorted({char for char in chars if self.has(char)}))
        known = self._subsets.get(wanted)
        if known is None:
            if len(self._subsets) >= _KEPT_SUBSETS:
                self._subsets.clear()
            with _readable():
                known = self._subsets[wanted] = self._cut(wanted)
        return known

    def _cut(self, wanted: str) -> Subset:
        names = [".notdef", *(self._cmap[ord(char)] for char in wanted)]
        is_cff = "glyf" not in self._font
        data, glyphs = self._cff(names) if is_cff else self._truetype(names)
        tag = _tag(hashlib.sha256(self._data + wanted.encode()).digest())
        scale = 1000 / self._units
        head, post = self._font["head"], self._font.get("post")
        return Subset(
            name=f"{tag}+{self.name}",
            data=data,
            is_cff=is_cff,
            codes={char: code for code, char in enumerate(wanted, 1)},
            glyphs=glyphs,
            widths=tuple(
                round(self._metrics.metrics.get(name, (0, 0))[0] * scale) for name in names
            ),
            box=tuple(
                round(side * scale) for side in (head.xMin, head.yMin, head.xMax, head.yMax)
            ),
            ascent=round(self.ascent * 1000),
            descent=-round(self.descent * 1000),
            cap_height=round(self.cap_height * 1000),
            italic_angle=float(post.italicAngle) if post is not None else 0.0,
        )

    def _shows(self, char: str) -> bool:
        """Fonts of coloured signs have glyphs without an outline."""
        return ord(char) in self._cmap and (char.isspace() or self.ink(char) != (0, 0))

    def _ink(self, char: str) -> tuple[float, float]:
        pen = BoundsPen(self._glyphs)
        with _readable():
            self._glyphs[self._cmap.get(ord(char), ".notdef")].draw(pen)
        _, low, _, high = pen.bounds or (0, 0, 0, 0)
        self._inks[char] = max(high / self._units, 0.0), max(-low / self._units, 0.0)
        return self._inks[char]

    def _cap_height(self) -> float:
        told = int(getattr(self._os2, "sCapHeight", 0) or 0) if self._os2 is not None else 0
        if told > 0:
            return told / self._units
        return next((self._ink(char)[0] for char in "HНX0" if self.has(char)), self.ascent * 0.7)

    def _truetype(self, names: list[str]) -> tuple[bytes, tuple[int, ...]]:
        font = _opened(self._data)
        font.flavor = None  # a web font is unpacked
        options = subset.Options(
            hinting=False,
            layout_features=[],
            name_IDs=[],
            notdef_outline=True,
            glyph_names=False,
            recalc_timestamp=False,
            drop_tables=_UNUSED,
            passthrough_tables=False,
        )
        cutter = subset.Subsetter(options)
        cutter.populate(glyphs=names)
        cutter.subset(font)
        target = io.BytesIO()
        numbers = {name: number for number, name in enumerate(font.getGlyphOrder())}
        font.save(target, reorderTables=True)
        return target.getvalue(), tuple(numbers[name] for name in names)

    def _cff(self, names: list[str]) -> tuple[bytes, tuple[int, ...]]:
        """Drawn anew, a glyph a code: what a font that counts in CIDs or varies needs anyway."""
        order = [".notdef", *(f"c{code}" for code in range(1, len(names)))]
        strings = {}
        for own, name in zip(order, names, strict=True):
            pen = T2CharStringPen(self._metrics.metrics.get(name, (0, 0))[0], self._glyphs)
            self._glyphs[name].draw(pen)
            strings[own] = pen.getCharString()
        builder = FontBuilder(self._units, isTTF=False)
        builder.setupGlyphOrder(order)
        builder.setupCFF(self.name, {}, strings, {})
        font = builder.font
        return font["CFF "].compile(font), tuple(range(len(names)))


@lru_cache(maxsize=8)
def shipped(family: str, weight: str) -> Font:
    """One of SHIPPED."""
    return Font(pymupdf_fonts.myfont(SHIPPED[family, weight]))


@lru_cache(maxsize=8)
def uploaded(data: bytes) -> Font:
    """One that is read once though many ask; raises BadFont."""
    return Font(data)


_UNUSED = [
    *("cmap", "name", "post", "OS/2", "GDEF", "GPOS", "GSUB", "kern", "gasp", "DSIG", "TTFA"),
    *("fvar", "gvar", "avar", "cvar", "HVAR", "VVAR", "MVAR", "STAT", "BASE", "MATH", "JSTF"),
    *("COLR", "CPAL", "SVG ", "CBDT", "CBLC", "sbix", "EBDT", "EBLC", "EBSC", "FFTM", "meta"),
    *("VDMX", "hdmx", "LTSH", "PCLT", "vhea", "vmtx", "VORG", "morx", "feat", "Silf", "Glat"),
]
"""Tables that a font inside a PDF does without."""


def _opened(data: bytes) -> TTFont:
    return TTFont(io.BytesIO(data), lazy=True, recalcTimestamp=False)


@contextmanager
def _readable() -> Iterator[None]:
    """Whatever a broken table makes the library raise becomes BadFont."""
    try:
        yield
    except BadFont:
        raise
    except Exception as error:  # noqa: BLE001 -- fontTools states no bounds to what it raises
        raise BadFont(str(error)[:200] or type(error).__name__) from None


def _tag(digest: bytes) -> str:
    """Six capital letters."""
    number = int.from_bytes(digest[:8])
    letters = []
    for _ in range(6):
        number, letter = divmod(number, 26)
        letters.append(chr(ord("A") + letter))
    return "".join(letters)


def _postscript_name(font: TTFont) -> str:
    """Letters, digits and hyphens alone: it stands in a PDF name."""
    table = font.get("name")
    told = str((table.getDebugName(6) if table is not None else "") or "Font")
    return "".join(char for char in told if char.isascii() and (char.isalnum() or char == "-"))[
        :60
    ]
