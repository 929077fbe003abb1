"""Readers of single values: text in, value out, ValueError that says what would be right."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SIGNING_SECRET_BYTES = 32
KEY_BYTES = 32

_PLACEHOLDER = re.compile("change.?me", re.IGNORECASE)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class Secret:
    """A string that shows itself only through `reveal()`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: for the one call that needs it, never for a log."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)


def signing_secret(text: str) -> Secret:
    """A secret that tokens are signed with: long, and not one that stands in an example."""
    if len(text.encode()) < SIGNING_SECRET_BYTES or _PLACEHOLDER.search(text):
        raise ValueError(
            f"must be a random secret of at least {SIGNING_SECRET_BYTES} bytes: "
            "`openssl rand -hex 32` makes one"
        )
    return Secret(text)


def password(low: int, high: int) -> Callable[[str], Secret]:
    """A reader of passwords with so many characters."""

    def parse(text: str) -> Secret:
        if not low <= len(text) <= high:
            raise ValueError(f"must have {low} to {high} characters")
        return Secret(text)

    return parse


def master_keys(text: str) -> Secret:
    """Keys of 32 bytes in hex or base64, with commas; raises ValueError that quotes none."""
    for word in text.split(","):
        if len(key_bytes(word)) != KEY_BYTES:
            raise ValueError("must be 32 bytes in hex or base64 each: openssl rand -hex 32")
    return Secret(text)


def key_bytes(text: str) -> bytes:
    """A key in hex or base64; empty when it is neither."""
    word = text.strip()
    try:
        return bytes.fromhex(word)
    except ValueError:
        pass
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        return b""


def boolean(text: str) -> bool:
    """True or False from the words people use."""
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("must be true or false")


def integer(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers within bounds."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A reader of durations in seconds within bounds."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return number

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """A reader of one of a few words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text.lower()

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """A reader of URLs that begin with one of the schemes."""

    def parse(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(
                f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            )
        return text

    return parse


def link_template(text: str) -> str:
    """A web address with {uuid} in it, once."""
    if not re.fullmatch(r"https?://[^\s/{}]+[^\s{}]*\{uuid\}[^\s{}]*", text) or len(text) > 500:
        raise ValueError("must be a link with {uuid} in it, such as https://example.com/t/{uuid}")
    return text


def secret_url(text: str) -> Secret:
    """A web address that only its owner may know."""
    return Secret(url("https", "http")(text))


def database_url(text: str) -> str:
    """A URL of PostgreSQL; hosts may be several, and named behind the `?` as well."""
    text = url("postgresql", "postgres")(text)
    try:
        parts = urlsplit(text)
        places = [place for place in parts.netloc.rpartition("@")[2].split(",") if place]
        ports = [place.rpartition(":")[2] for place in places if _has_port(place)]
        ports += [
            port for ports in parse_qs(parts.query).get("port", []) for port in ports.split(",")
        ]
        fine = all(port.isascii() and port.isdigit() and 0 < int(port) < 65536 for port in ports)
    except ValueError:  # a bracket that is not closed; never chained: its text may hold the URL
        fine = False
    if not fine:
        raise ValueError(
            "must be postgresql://user:password@host:port/database, special characters in its "
            "parts written as %XX"
        ) from None
    return text


def _has_port(place: str) -> bool:
    return ":" in place.rpartition("]")[2]


def endpoint(text: str) -> str:
    """An S3 endpoint, with or without its scheme."""
    if any(mark in text for mark in " ?#@") or not text.strip("/"):
        raise ValueError("must be http://host:port, https://host or host:port")
    return text.rstrip("/")


def folder(text: str) -> Path:
    """A path; `~` is the home directory."""
    return Path(text).expanduser()


def as_text(value: object) -> str:
    """What the readers above turn into this value again."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.absolute() if isinstance(value, Path) else value)
