"""Where things are in a PDF as Chromium writes it, with one plain table of references at its end.

Objects are found through the table and read token by token, never by searching for a word: titles
and texts are the customer's, and may hold anything that looks like a piece of a PDF.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_START = re.compile(rb"startxref\s+(\d{1,12})\s+%%EOF\s*\Z")
_TABLE = re.compile(rb"xref\s+0 (\d{1,9}) *\r?\n")
_ENTRY = re.compile(rb"(\d{10}) \d{5} n")
_ENTRY_BYTES = 20
_TAIL_BYTES = 64
_OBJECT = re.compile(rb"\d+ \d+ obj\s*")
_SPACE = re.compile(rb"[\s\0]*")
_TOKEN = re.compile(
    rb"\((?:[^()\\]|\\.)*\)|<<|>>|<[\da-fA-F\s]*>|/[^\s\0/<>\[\]()]*|[^\s\0/<>\[\]()]+|[\[\]]",
    re.DOTALL,
)
_OPENING, _CLOSING = (b"<<", b"["), (b">>", b"]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The first token of an entry's value; for a reference, that is the object's number."""

    start: int
    token: bytes


class Xref:
    """The table of one file; raises ValueError for a file that Chromium did not write."""

    def __init__(self, pdf: bytes) -> None:
        self._pdf = pdf
        start = _START.search(pdf, max(0, len(pdf) - _TAIL_BYTES))
        table = _TABLE.match(pdf, int(start.group(1))) if start else None
        if table is None:
            raise ValueError("the PDF has no plain cross-reference table at its end")
        self._entries = table.end()
        self._count = int(table.group(1))
        end = _SPACE.match(pdf, self._entries + self._count * _ENTRY_BYTES)
        at = end.end() if end else len(pdf)
        if not pdf.startswith(b"trailer", at):
            raise ValueError("the PDF has no trailer")
        self.trailer = self._dictionary(at + len(b"trailer"))

    def follow(self, holder: Mapping[bytes, Value], name: bytes) -> Mapping[bytes, Value]:
        """The dictionary that an entry refers to; raises ValueError when there is none."""
        value = holder.get(name)
        if value is None or not value.token.isdigit() or int(value.token) >= self._count:
            raise ValueError(f"the PDF has no {name.decode()}")
        entry = _ENTRY.match(self._pdf, self._entries + int(value.token) * _ENTRY_BYTES)
        head = _OBJECT.match(self._pdf, int(entry.group(1))) if entry else None
        if head is None:
            raise ValueError(f"the table of the PDF misplaces {name.decode()}")
        return self._dictionary(head.end())

    def _dictionary(self, at: int) -> Mapping[bytes, Value]:
        """Entries of the dictionary that begins at `at`; what is nested in it is skipped."""
        found: dict[bytes, Value] = {}
        depth, key = 0, b""
        while True:
            space = _SPACE.match(self._pdf, at)
            token = _TOKEN.match(self._pdf, space.end() if space else at)
            if token is None or (depth == 0 and token.group() != b"<<"):
                raise ValueError("the PDF has a broken dictionary")
            at, text = token.end(), token.group()
            if depth == 1 and key and text not in _CLOSING:
                found[key] = Value(start=token.start(), token=text)
                key = b""
            elif depth == 1 and text.startswith(b"/"):
                key = text
            depth += (text in _OPENING) - (text in _CLOSING)
            if depth == 0:
                return found
