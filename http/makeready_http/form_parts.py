"""Forms in pieces (multipart/form-data): what is the same whoever reads one, and what for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from makeready.shapes import cut
from makeready_http.problems import Problem, invalid_request

COPIED_BYTES = 4 << 10
Bytes: TypeAlias = bytes | memoryview


class FormParts(ABC):
    """One body. Who inherits this says in `_open` what becomes of a part."""

    def __init__(self, boundary: bytes) -> None:
        self._take: Callable[[Bytes], None] = ignore
        """Takes bytes of the part that is being read."""
        self._close: Callable[[], None] = do_nothing
        """Is called at the end of that part."""
        self._parts = 0
        self._is_whole = False
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, a, b: self._header[0].extend(data[a:b]),
                "on_header_value": lambda data, a, b: self._header[1].extend(data[a:b]),
                "on_header_end": self._keep_header,
                "on_headers_finished": self._read_headers,
                "on_part_data": lambda data, a, b: self._take(_between(data, a, b)),
                "on_part_end": lambda: self._close(),  # noqa: PLW0108 -- another one each part
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Reads on; raises Problem."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise _broken(str(error)) from None

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

    def _begin(self) -> None:
        self._parts += 1
        self._count(self._parts)
        self._headers.clear()

    def _keep_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def _read_headers(self) -> None:
        stated = self._headers.get(b"content-disposition", b"").decode("latin-1")
        kind, options = parse_options_header(stated)
        if kind != b"form-data" or b"name" not in options:
            raise _broken("a part has no name")
        declared = self._headers.get(b"content-type", b"").decode("latin-1")
        media_type = declared.partition(";")[0].strip().lower()
        self._open(options[b"name"], options.get(b"filename"), media_type)

    def _end(self) -> None:
        self._is_whole = True


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


def ignore(_: Bytes) -> None:
    """Takes what nobody wants."""


def do_nothing() -> None:
    """At the end of a part that needs no more."""


def _between(data: bytes, first: int, end: int) -> Bytes:
    """Small pieces may be of the parser's own buffer; the copy of a large one is saved."""
    return data[first:end] if end - first < COPIED_BYTES else memoryview(data)[first:end]


def _broken(why: str) -> Problem:
    return invalid_request(f"The body is broken: {cut(why)}.", field="body", reason="multipart")
