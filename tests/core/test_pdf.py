"""Opening a PDF again: facts, refusals, and not on the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pymupdf
import pytest

from makeready.pdf import InvalidPdf, inspect, text_of, verify, verify_aside
from tests.support.pdfs import made, without_glyphs


def problems(data: bytes, **expected: Any) -> str:
    with pytest.raises(InvalidPdf) as caught:
        verify(data, **expected)
    assert caught.value.details["problems"]
    return "; ".join(caught.value.details["problems"])


def test_a_good_pdf_is_described() -> None:
    data = made("Привет", pages=2)
    facts = verify(data, pages=2)
    assert facts == inspect(data)
    assert (facts.pages, facts.text_chars, facts.lost_chars) == (2, 12, 0)
    assert facts.page_size_mm == pytest.approx((209.9, 297.0), abs=0.1)
    assert facts.title == "A title"
    assert facts.byte_count == len(data)
    assert len(facts.sha256) == 64
    assert [font.embedded for font in facts.fonts] == [True]
    assert text_of(data).split() == ["Привет", "Привет"]


def test_what_is_no_pdf_does_not_open() -> None:
    assert "begin with %PDF" in problems(b"<html>")
    assert problems(b"%PDF-1.4 and then nothing")
    assert problems(made()[:-200])


def test_a_pdf_without_text_is_refused() -> None:
    assert "no text" in problems(made(" "))


def test_a_font_that_does_not_travel_with_the_file_is_refused_by_name() -> None:
    assert "not embedded: Helvetica" in problems(made(embedded=False))


def test_letters_that_a_font_does_not_have_are_refused() -> None:
    data = without_glyphs(made("Привет", pages=2))
    assert "2 characters" in problems(data)
    assert inspect(data).lost_chars == 2
    assert "П" not in inspect(data).letters


def test_letters_that_are_missing_are_noticed_though_the_file_tells_them() -> None:
    data = without_glyphs(made("Привет"), meaning=b"/Span <</ActualText <FEFF041F>>> BDC")
    assert "Привет" in text_of(data)
    assert "1 characters" in problems(data)


def test_another_number_of_pages_than_was_counted_is_refused() -> None:
    assert "1 pages, the engine counted 3" in problems(made("x"), pages=3)


def test_the_size_is_bounded() -> None:
    assert "100 are allowed" in problems(made(), size_limit=100)


async def test_a_check_aside_gives_the_same_facts_in_another_process() -> None:
    data = made("x")
    assert await verify_aside(data, pages=1) == verify(data)
    with pytest.raises(InvalidPdf, match="engine counted 9"):
        await verify_aside(data, pages=9)


async def test_a_check_aside_opens_nothing_in_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyMuPDF holds the interpreter lock: the event loop would stand still."""

    def opened_here(**_: object) -> None:
        raise AssertionError("opened in the process of the event loop")

    data = made("слово " * 10, pages=600)
    monkeypatch.setattr(pymupdf, "open", opened_here)
    with pytest.raises(AssertionError, match="of the event loop"):
        verify(data)
    assert (await verify_aside(data)).pages == 600


async def test_a_cancelled_check_leaves_a_working_helper_behind() -> None:
    data = made("слово " * 10, pages=600)
    task = asyncio.create_task(verify_aside(data))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await verify_aside(made("x"))).pages == 1
