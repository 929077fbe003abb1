"""HTML that was sent: its archive, its encoding, and the base of its addresses."""

from __future__ import annotations

import io
import zipfile

import pytest

from makeready.documents.typesetting import TemplateFailed
from makeready_workers import render_html
from makeready_workers.render_html import based, decoded, unpack

BASE = '<base href="https://pack.invalid/">'


def packed(**files: bytes) -> bytes:
    """An archive; double underscores in names stand for dots."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "."), body)
    return written.getvalue()


@pytest.mark.parametrize(
    "prologue",
    [
        "",
        "<!doctype html>",
        "  <!DOCTYPE html>",
        "<!-- a > b --><!-- c -->\n<!doctype html>",
        '<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
    ],
)
def test_the_base_stands_behind_the_doctype_and_before_all_else(prologue: str) -> None:
    page = "<html lang=ru><head><base href=other/>"
    assert based(prologue + page) == prologue + BASE + page


def test_an_unclosed_comment_is_no_prologue() -> None:
    assert based("<!-- " * 1000 + "<p>") == BASE + "<!-- " * 1000 + "<p>"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Привет".encode(), "Привет"),
        ("Привет".encode("utf-8-sig"), "Привет"),
        ("Привет".encode("utf-16"), "Привет"),
        ('<meta charset="windows-1251">Привет'.encode("cp1251"), "Привет"),
        (b"caf\xe9", "café"),  # as browsers read what states nothing and is not UTF-8
        (b"<meta http-equiv=x content='text/html; charset=koi8-r'>\xd0", "п"),
    ],
)
def test_the_encoding_is_what_the_first_bytes_say(body: bytes, text: str) -> None:
    assert decoded(body).endswith(text)


@pytest.mark.parametrize(
    "body",
    [
        b"\x81",
        b"<meta charset=klingon>x",
        b"<meta charset=hex>zz",
        b"<meta charset=punycode>-" + b"b" * 20_000_000,  # hours of one thread
        b"<meta charset=unicode_escape>x",
    ],
)
def test_what_is_no_text_is_named(body: bytes) -> None:
    with pytest.raises(TemplateFailed, match="not text in"):
        decoded(body)


def test_an_archive_becomes_html_and_assets() -> None:
    html = unpack(packed(index__html=b"<p>x", look__css=b"p{}", own__unknown=b"1"))

    assert html.html == f"{BASE}<p>x"
    assert html.assets["look.css"].media_type == "text/css"
    assert html.assets["own.unknown"].media_type == "application/octet-stream"


def test_what_cannot_be_unpacked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for archive, text in (
        (b"no archive", "cannot be read"),
        (packed(other__html=b"x"), "no index.html"),
    ):
        with pytest.raises(TemplateFailed, match=text):
            unpack(archive)
    monkeypatch.setattr(render_html, "UNPACKED_LIMIT_BYTES", 2)
    with pytest.raises(TemplateFailed, match="above 2 bytes"):
        unpack(packed(index__html=b"xxx"))
    monkeypatch.setattr(render_html, "UNPACKED_LIMIT_BYTES", 1 << 20)
    monkeypatch.setattr(render_html, "HTML_LIMIT_BYTES", 50)
    with pytest.raises(TemplateFailed, match="HTML is above 50"):
        unpack(packed(index__html=b"x" * 60))
