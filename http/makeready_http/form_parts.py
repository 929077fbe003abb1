"""Forms in pieces (multipart/form-data): what is the same whoever reads one, and what for.

Bodies are cut up here and not by python_multipart, which calls back five times for each header:
that took more than half of what the event loop did for a photo.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from makeready.shapes import cut
from makeready_http.problems import Problem, invalid_request

HEAD_BYTES = 8 << 10
Bytes: TypeAlias = bytes | memoryview
"""A view saves the copy of what is large."""

_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ ]*([^\r]*)")
_NO_LINE_END = re.compile(rb"[^\r\n]")
_LINE = re.compile(rb"--|[ \t]*\r\n")
"""What follows a delimiter: else it is none."""
_LINE_BEGUN = re.compile(rb"-?|[ \t]*\r?")


class FormParts(ABC):
    """One body. Who inherits this says in `_open` what becomes of a part."""

    def __init__(self, boundary: bytes) -> None:
        self._take: Callable[[Bytes], None] = _take_nothing
        """Takes bytes of the part that is being read."""
        self._close: Callable[[], None] = do_nothing
        """Is called at the end of that part."""
        self._parts = 0
        self._is_whole = False
        self._delimiter = b"\r\n--" + boundary
        self._left = b""
        """The beginning of a delimiter or a head whose rest has not come."""
        self._read: Callable[[bytes, int], int | None] = self._read_preamble
        """Reads on from there; None when that is all."""

    def feed(self, data: bytes) -> None:
        """Reads on; raises Problem."""
        data, self._left = self._left + data, b""
        at: int | None = 0
        while at is not None:
            at = self._read(data, at)

    def finish(self) -> None:
        """The body is over: raises Problem unless the form is."""
        if not self._is_whole:
            raise _broken("it ends early")

    @abstractmethod
    def _count(self, parts: int) -> None:
        """Another part begins, the how-manieth is told; raises Problem when it is one too many."""

    @abstractmethod
    def _open(self, name: bytes, filename: bytes | None, media_type: str) -> None:
        """Sets `_take` and `_close` for a part with this head; raises Problem."""

    def _read_preamble(self, data: bytes, at: int) -> int | None:
        """Only ends of lines may come before the first delimiter, which needs none."""
        begun = len(data) if (found := _NO_LINE_END.search(data, at)) is None else found.start()
        first = self._delimiter[2:]
        after = begun + len(first)
        if data.startswith(first, begun):
            if line := _LINE.match(data, after):
                return self._pass(line)
            is_delimiter = _LINE_BEGUN.fullmatch(data, after) is not None
        else:
            is_delimiter = first.startswith(data[begun:after])
        if not is_delimiter:
            raise _broken("it does not begin with its boundary")
        self._left = self._bounded(data[begun:])
        return None

    def _read_content(self, data: bytes, at: int) -> int | None:
        end, line = self._end_of_content(data, at)
        if end > at:
            self._take(memoryview(data)[at:end])
        if line is None:
            self._left = self._bounded(data[end:])
            return None
        return self._pass(line)

    def _pass(self, line: re.Match[bytes]) -> int:
        """Leaves a part for what follows its delimiter."""
        self._close()
        self._is_whole = line[0] == b"--"
        self._read = _read_nothing if self._is_whole else self._read_head
        return line.end() - 2

    def _end_of_content(self, data: bytes, at: int) -> tuple[int, re.Match[bytes] | None]:
        """Where the content ends as far as is known, and what follows the delimiter there."""
        found = data.find(self._delimiter, at)
        while found >= 0:
            after = found + len(self._delimiter)
            if (line := _LINE.match(data, after)) or _LINE_BEGUN.fullmatch(data, after):
                return found, line
            found = data.find(self._delimiter, after)
        # One may have begun at the end: with a CR, which is nowhere else in it.
        begun = data.rfind(b"\r", max(at, len(data) - len(self._delimiter) + 1))
        if begun < 0 or not self._delimiter.startswith(data[begun:]):
            begun = len(data)
        return begun, None

    def _read_head(self, data: bytes, at: int) -> int | None:
        """From the end of the line before it: a head may be empty."""
        end = data.find(b"\r\n\r\n", at)
        head = self._bounded(data[at:] if end < 0 else data[at:end])
        if end < 0:
            self._left = head
            return None
        self._begin(head[2:])
        self._read = self._read_content
        return end + 4

    def _begin(self, head: bytes) -> None:
        self._parts += 1
        self._count(self._parts)
        headers = {}
        for line in head.split(b"\r\n") if head else ():
            header = _HEADER.fullmatch(line)
            if header is None:
                raise _broken("a part's head cannot be read")
            headers[header[1].lower()] = header[2]
        kind, name, filename = _disposition(headers.get(b"content-disposition", b""))
        if kind != b"form-data" or name is None:
            raise _broken("a part has no name")
        declared = headers.get(b"content-type", b"").decode("latin-1")
        self._open(name, filename, declared.partition(";")[0].strip().lower())

    @staticmethod
    def _bounded(begun: bytes) -> bytes:
        if len(begun) > HEAD_BYTES:
            raise _broken("a part's head is too long")
        return begun


def boundary_of(request: Request) -> bytes:
    """What stands between the parts of a form; 400 when the body is none."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 200:
        text = "The body must be multipart/form-data with a boundary."
        raise invalid_request(text, field="Content-Type", reason="multipart")
    return boundary


def utf8(value: bytes) -> str:
    """Raises Problem."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _broken("a name is not UTF-8") from None


def do_nothing() -> None:
    """At the end of a part that needs no more."""


@lru_cache(maxsize=64)
def _disposition(stated: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """The kind of a part, its name, the file's; booths send the same ones with every photo."""
    kind, options = parse_options_header(stated.decode("latin-1"))
    return kind, options.get(b"name"), options.get(b"filename")


def _take_nothing(_: Bytes) -> None:
    """No part has begun."""


def _read_nothing(_: bytes, __: int) -> None:
    """What is behind the form."""


def _broken(why: str) -> Problem:
    return invalid_request(f"The body is broken: {cut(why)}.", field="body", reason="multipart")
