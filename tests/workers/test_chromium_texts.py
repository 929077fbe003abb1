"""What customers write cannot pass for a piece of a PDF, and no letter is lost to a late font."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from makeready.pdf import inspect
from makeready_workers.chromium import ChromiumEngine
from makeready_workers.chromium.dates import count_pages, fix_dates
from tests.support.chromium import running_engine, show


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[ChromiumEngine]:
    async with running_engine() as running:
        yield running


@pytest.mark.parametrize(
    "words",
    [
        "/ModDate",
        "/CreationDate (D:20200101000000",
        "/Type /Pages /Count 99",
        "trailer << /Info 1 0 R >> startxref 0 %%EOF",
        "endobj 5 0 obj << /Title (x) >>",
    ],
)
async def test_a_title_that_looks_like_a_pdf_is_printed_like_any_other(
    engine: ChromiumEngine, words: str
) -> None:
    escaped = words.replace("<", "&lt;")
    html = f"<!doctype html><title>{escaped}</title><p>{escaped}</p>"
    first, second = await show(engine, html), await show(engine, html)
    assert first.pages == inspect(first.pdf).pages == 1
    assert inspect(first.pdf).title == words
    assert first.pdf == second.pdf, "both dates are fixed"


@pytest.mark.parametrize("broken", [b"", b"%PDF-1.4\n%%EOF", b"%PDF-1.4\nstartxref\n9\n%%EOF"])
def test_a_file_that_chromium_did_not_write_is_told(broken: bytes) -> None:
    with pytest.raises(ValueError, match="the PDF has"):
        fix_dates(broken)
    with pytest.raises(ValueError, match="the PDF has"):
        count_pages(broken)
