"""Which encoding the HTML of a caller is in: stated, marked, or guessed as browsers do."""

from __future__ import annotations

import codecs

import pytest

from makeready.documents.typesetting import TemplateFailed
from makeready_workers.render_html import decoded

WORDS = "Привет, ₽"


@pytest.mark.parametrize(
    "index",
    [
        WORDS.encode(),
        codecs.BOM_UTF8 + WORDS.encode(),
        WORDS.encode("utf-16"),
    ],
)
def test_what_is_unicode_is_read_as_such(index: bytes) -> None:
    assert decoded(index) == WORDS


def test_what_is_stated_counts() -> None:
    html = "<!doctype html><meta charset='windows-1251'>Привет"
    assert decoded(html.encode("cp1251")) == html
    with pytest.raises(TemplateFailed, match="not text in koi99"):
        decoded(b"<meta charset=koi99>\xff")


def test_old_pages_that_state_nothing_are_read_as_browsers_read_them() -> None:
    assert decoded("café – 5 €".encode("cp1252")) == "café – 5 €"
