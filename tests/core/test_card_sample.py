"""The template that the demo prints is what a print shop wants."""

from __future__ import annotations

import re
import subprocess
import sys

import pymupdf

from makeready.cards import sample
from makeready.cards.inspection import inspect
from makeready.cards.reading import read_codes
from makeready.cards.settings import read_settings

RGB = re.compile(rb"(?<![\w.])(?:[\d.]+ ){3}(?:rg|RG)(?!\w)|/DeviceRGB")


def test_it_is_a_two_page_cmyk_pdf_with_bleed() -> None:
    facts = inspect(sample.template())
    assert facts.has_cmyk
    assert [page.rotate for page in facts.pages] == [0, 0]
    for page in facts.pages:
        bleeds = [abs(outer - inner) for outer, inner in zip(page.bleed, page.trim, strict=True)]
        assert all(abs(bleed - 3 * 72 / 25.4) < 0.01 for bleed in bleeds)
    assert all(is_embedded for _, is_embedded in facts.fonts)
    with pymupdf.open(stream=sample.template()) as document:
        streams = [document.xref_stream(xref) or b"" for xref in range(1, document.xref_length())]
        texts = [document.xref_object(xref) for xref in range(1, document.xref_length())]
    assert not any(RGB.search(part) for part in [*streams, *(text.encode() for text in texts)])


def test_its_settings_can_be_read_and_name_its_pages() -> None:
    settings = read_settings(sample.settings())
    assert {field.id for field in settings.fields} == {"qr", "number", "place", "back"}
    assert settings.sheet is not None


def test_two_processes_draw_the_same_bytes() -> None:
    program = (
        "import hashlib; from makeready.cards.sample import template; "
        "print(hashlib.sha256(template()).hexdigest())"
    )
    drawn = {subprocess.check_output([sys.executable, "-c", program], text=True) for _ in range(2)}
    assert len(drawn) == 1


def test_tables_are_in_three_rooms() -> None:
    tables = sample.tables(40)
    assert [table["number"] for table in tables] == [str(number) for number in range(1, 41)]
    assert len({table["section"] for table in tables}) == 3


def test_a_page_without_a_code_reads_as_none() -> None:
    assert read_codes(sample.template()) == [[], []]
