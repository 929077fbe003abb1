"""Reads the codes of a printed page, as a phone would: the page becomes a picture first."""

from __future__ import annotations

from collections.abc import Iterator

import pymupdf
import zxingcpp

READING_DPI = 150
QR_CODES = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)


def read_codes(pdf: bytes, *, dpi: float = READING_DPI) -> list[list[str]]:
    """The texts of the QR codes of each page, in no order. At half of `dpi` a code is half as big.

    Raises what MuPDF raises for bytes that are no PDF.
    """
    with pymupdf.open("pdf", pdf) as document:
        return [list(_codes(page, dpi)) for page in document]


def _codes(page: pymupdf.Page, dpi: float) -> Iterator[str]:
    scale = dpi / 72
    picture = page.get_pixmap(
        matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csGRAY, alpha=False
    )
    for found in zxingcpp.read_barcodes(pixels(picture), formats=QR_CODES):
        yield found.text


def pixels(picture: pymupdf.Pixmap) -> memoryview:
    """A gray picture as zxing reads it."""
    return memoryview(picture.samples_mv).cast("B", (picture.height, picture.stride))
