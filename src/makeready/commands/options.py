"""Readers for the options of commands: what they refuse is told with what would be right."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from makeready.config import variables


def option(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same reader for argparse, which shows only the text of an error of its own."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return parse


def _service(text: str) -> str:
    try:
        parts = urlsplit(text)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be http://host:port")
    return text.rstrip("/")


base_url = option(_service)
"""The reader of the address of a service."""


def behind_dashes(words: Sequence[str]) -> list[str]:
    """The words for another program, without the `--` before them."""
    return list(words[1:] if words[:1] == ["--"] else words)


def setting(field: str) -> Callable[[str], Any]:
    """The reader of a setting, for the option that stands in its place."""
    return option(next(one.parse for one in variables() if one.field == field))
