"""Fonts travel with the file, cut down to the batch, where their licence allows (PSM-027)."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable

import pymupdf_fonts
import pytest
from fontTools.ttLib import TTFont

from makeready.cards.fonts import BadFont, Font, shipped
from tests.support.card_fonts import LETTERS, opentype, truetype


def test_what_is_shipped_has_cyrillic_and_the_signs_of_money_but_no_armenian() -> None:
    """PSM-027."""
    for weight in ("regular", "bold"):
        font = shipped("noto-sans", weight)
        assert font.missing("Стол № 7 Қазақша Әә ₽ ₸ € Ёё «ёлочки» — 12а") == []
        assert font.missing("Սեղան") == sorted(set("Սեղան"))
        assert font.embedding == ""


def test_lengths_are_those_of_the_font() -> None:
    font = shipped("noto-sans", "regular")

    letters = {"С": 0.632, "т": 0.476, "о": 0.605, "л": 0.578}
    assert font.advance("Стол") == pytest.approx(sum(letters.values()))
    assert font.cap_height == 0.714
    assert font.advance("") == 0
    above, below = font.ink("Йр")
    assert above > font.cap_height
    assert 0.2 < below < 0.3


@pytest.mark.parametrize(
    ("bits", "why"),
    [
        (0x0000, ""),
        (0x0002, "restricted"),
        (0x0004, ""),
        (0x0008, ""),
        (0x000E, ""),
        (0x0100, "no_subsetting"),
        (0x0104, "no_subsetting"),
        (0x0200, "bitmaps_only"),
        (0x0102, "restricted"),
    ],
)
def test_the_licence_in_the_file_is_honoured(bits: int, why: str) -> None:
    assert Font(truetype(fs_type=bits)).embedding == why


@pytest.mark.parametrize("made", [truetype, opentype])
def test_a_subset_has_the_letters_of_the_batch_and_a_tag(made: Callable[[], bytes]) -> None:
    """PSM-027."""
    data = made()
    font = Font(data)

    cut = font.subset("Стол № 7")

    assert sorted(cut.codes) == sorted(set("Стол № 7"))
    assert len(cut.widths) == len(cut.codes) + 1
    assert cut.widths[cut.codes["С"]] == round(font.advance("С") * 1000)
    tag, _, name = cut.name.partition("+")
    assert (len(tag), tag.isalpha(), tag.isupper()) == (6, True, True)
    assert name.startswith("Probe-")
    assert len(cut.data) < len(data)


def test_equal_letters_make_equal_bytes_whatever_their_order() -> None:
    one = Font(truetype()).subset("Стол 17")
    two = Font(truetype()).subset("71 лотС")

    assert one == two
    assert Font(truetype()).subset("Стол 18").name != one.name


def test_two_processes_cut_the_same_bytes() -> None:
    """PSM-029: the library would write the time of day into the font."""
    code = (
        "import hashlib; from makeready.cards.fonts import shipped;"
        "cut = shipped('noto-sans', 'bold').subset('Стол № 0123456789');"
        "print(cut.name, hashlib.sha256(cut.data).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True) for _ in "12"
    ]

    assert runs[0].stdout == runs[1].stdout
    assert b"+NotoSans-Bold " in runs[0].stdout


def test_tables_that_a_pdf_does_without_are_left_out() -> None:
    cut = shipped("noto-sans", "regular").subset("Стол")
    tables = set(TTFont(io.BytesIO(cut.data)).keys())

    assert tables == {"GlyphOrder", "head", "hhea", "hmtx", "loca", "maxp", "glyf"}
    assert len(cut.data) < 2_000


def test_letters_drawn_by_one_glyph_keep_codes_of_their_own() -> None:
    """Else Latin A would be found where Cyrillic А was printed."""
    cut = Font(opentype("АБ ", twins="АA")).subset("АA")

    assert len(set(cut.codes.values())) == 2
    assert cut.widths[cut.codes["А"]] == cut.widths[cut.codes["A"]]


def test_a_name_that_no_pdf_name_can_hold_is_cleaned() -> None:
    font = Font(truetype(name="Ёлки (Bold)/#{0} Probe"))

    assert font.name == "Bold0Probe"


def test_a_web_font_is_unpacked() -> None:
    font = TTFont(io.BytesIO(truetype()))
    font.flavor = "woff"
    target = io.BytesIO()
    font.save(target)

    cut = Font(target.getvalue()).subset("Стол")

    assert TTFont(io.BytesIO(cut.data)).flavor is None


@pytest.mark.parametrize(
    "data",
    [b"", b"%PDF-1.7", b"ttcf" + bytes(40), None, b"wOF2" + bytes(60)],
    ids=["empty", "pdf", "collection", "cut", "broken-woff2"],
)
def test_what_is_no_font_is_refused(data: bytes | None) -> None:
    with pytest.raises(BadFont):
        Font(truetype()[:300] if data is None else data)


@pytest.mark.parametrize("made", [truetype, opentype])
def test_a_damaged_font_is_refused_or_used_and_nothing_else(made: Callable[[], bytes]) -> None:
    whole = made()
    chance = random.Random(3)
    refused = 0
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(len(whole))] = chance.randrange(256)
        try:
            font = Font(bytes(broken))
            font.advance("Стол")
            font.ink("Стол")
            font.subset(LETTERS)
        except BadFont:
            refused += 1
    assert 0 < refused < 60


def test_a_font_with_no_unicode_letters_is_refused() -> None:
    font = TTFont(io.BytesIO(truetype()))
    font["cmap"].tables = []
    target = io.BytesIO()
    font.save(target)

    with pytest.raises(BadFont, match="no Unicode"):
        Font(target.getvalue())


def test_the_shipped_files_are_there() -> None:
    assert pymupdf_fonts.myfont("notos")[:4] == b"\0\1\0\0"
