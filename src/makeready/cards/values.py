"""The value language: literals and `{path|filter:argument}`; no code is evaluated.

`{{` and `}}` stand for the braces themselves. What a path leads to may be missing in a row: it is
then empty, which `default` can fill.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from makeready.file_names import file_names

Row: TypeAlias = Mapping[str, Mapping[str, str | int | None]]
"""One card's data: {"table": {…}, "restaurant": {…}, "generation": {…}, "row": {…}}."""

PATHS: Mapping[str, tuple[str, ...]] = {
    "table": ("id", "uuid", "number", "name", "section", "url", "seats"),
    "restaurant": ("id", "name", "city", "logo"),
    "generation": ("version", "date", "author"),
}
"""What there is besides `row`, whose names are those of an uploaded table's columns."""
FILTERS: Mapping[str, str] = {
    "upper": "",
    "lower": "",
    "pad": "number",
    "default": "text",
    "short": "number",
    "b32": "",
    "b58": "",
    "date": "form",
}
"""Each with what it takes behind a colon; only `date` may go without."""
SAMPLE_ROWS: Sequence[Row] = (
    {
        "table": {
            "id": 12,
            "uuid": "018f2b6e-0c0a-7cc3-9d7b-3f1d2a4b5c6d",
            "number": "12",
            "name": "Стол 12",
            "section": "Летняя веранда",
            "url": "https://qr.example.ru/t/018f2b6e-0c0a-7cc3-9d7b-3f1d2a4b5c6d",
            "seats": 4,
        },
        "restaurant": {"id": 7, "name": "Ёлки", "city": "Казань", "logo": "sample"},
        "generation": {"version": 1, "date": "2026-01-31", "author": "anna"},
        "row": {},
    },
)
"""Stands in for tables while a template has none: a link of 60 characters, as usual."""
MAX_PAD = 20
USUAL_DATE = "DD.MM.YYYY"

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BITCOIN = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_NUMBER = re.compile("[0-9]{1,4}")
_DATE_PART = re.compile("YYYY|YY|MM|M|DD|D|HH|mm")
_DATE_FORMS = {
    "YYYY": "{0.year:04}",
    "MM": "{0.month:02}",
    "M": "{0.month}",
    "DD": "{0.day:02}",
    "D": "{0.day}",
    "HH": "{0.hour:02}",
    "mm": "{0.minute:02}",
}


class BadValue(ValueError):
    """A value that cannot be read, or not be filled in with a row's data."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        """`field_unknown_var`, `value_syntax` or `value_filter`."""
        self.facts = facts
        """For `wording`."""


class _Filter(NamedTuple):
    name: str
    argument: str


class _Reference(NamedTuple):
    source: str
    group: str
    name: str
    filters: tuple[_Filter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A value as it was read; `source` is what stands in the settings."""

    source: str
    parts: tuple[str | _Reference, ...]

    @property
    def paths(self) -> frozenset[str]:
        """What it refers to, such as `table.number`."""
        return frozenset(
            f"{part.group}.{part.name}" for part in self.parts if not isinstance(part, str)
        )

    @property
    def columns(self) -> frozenset[str]:
        """The columns of `row` that it needs."""
        return frozenset(
            part.name for part in self.parts if not isinstance(part, str) and part.group == "row"
        )

    def text(self, row: Row) -> str:
        """Filled in for one card; raises BadValue where a filter finds what it cannot take."""
        return "".join(
            part if isinstance(part, str) else _filled(part, row) for part in self.parts
        )


def parse(text: str) -> Expression:
    """Reads a value; raises BadValue with the place, or the nearest name there is."""
    parts: list[str | _Reference] = []
    end = 0
    for piece in _PIECE.finditer(text):
        parts.append(text[end : piece.start()])
        end = piece.end()
        if piece[1] is not None:
            parts.append(_reference(piece[1]))
        elif len(piece[0]) == 2:
            parts.append(piece[0][0])
        else:
            raise BadValue("value_syntax", case="brace", brace=piece[0], place=piece.start() + 1)
    parts.append(text[end:])
    return Expression(source=text, parts=tuple(part for part in parts if part))


def card_names(name: str, rows: Iterable[Row]) -> list[str]:
    """The file names of cards, each once, made from `output.name`; all end in .pdf."""
    expression = parse(name)
    texts = (expression.text(row).strip() for row in rows)
    return file_names(text if text.lower().endswith(".pdf") else f"{text}.pdf" for text in texts)


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was meant, or nothing."""
    known = sorted(names)
    lower = {each.lower(): each for each in reversed(known)}
    leaves = {each.rpartition(".")[2].lower(): each for each in reversed(known)}
    for candidates in (lower, leaves):
        found = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.6)
        if found:
            return candidates[found[0]]
    return ""


def known_paths(columns: Iterable[str] = ()) -> list[str]:
    """All that a value may refer to, with the columns of `row`."""
    paths = [f"{group}.{name}" for group, names in PATHS.items() for name in names]
    return paths + [f"row.{name}" for name in columns]


def _reference(text: str) -> _Reference:
    path, *filters = (part.strip() for part in text.split("|"))
    group, dot, name = (part.strip() for part in path.partition("."))
    if not path:
        raise BadValue("value_syntax", case="empty", text=f"{{{text}}}")
    if not dot or not name or (group != "row" and name not in PATHS.get(group, ())):
        raise BadValue("field_unknown_var", name=path, nearest=nearest(path, known_paths()))
    return _Reference(text, group, name, tuple(_filter(each) for each in filters))


def _filter(text: str) -> _Filter:
    name, colon, argument = text.partition(":")
    name = name.strip()
    if name not in FILTERS:
        raise BadValue(
            "value_syntax", case="filter", name=name, nearest=nearest(name, FILTERS),
            known=sorted(FILTERS),
        )  # fmt: skip
    wanted = FILTERS[name]
    if colon and not wanted:
        raise BadValue("value_syntax", case="argument", name=name)
    if wanted == "number":
        argument = argument.strip()
        most = MAX_PAD if name == "pad" else 1000
        if not _NUMBER.fullmatch(argument) or not 1 <= int(argument) <= most:
            raise BadValue("value_syntax", case="number", name=name, most=most)
    if wanted == "text" and not colon:
        raise BadValue("value_syntax", case="text", name=name)
    return _Filter(name, argument)


def _filled(reference: _Reference, row: Row) -> str:
    found = row.get(reference.group, {}).get(reference.name)
    text = "" if found is None else str(found)
    for each in reference.filters:
        try:
            text = _applied(each, text)
        except ValueError as error:
            facts = {"filter": each.name, "value": text[:60], "path": reference.source}
            raise BadValue("value_filter", case=each.name, **facts) from error
    return text


def _applied(each: _Filter, text: str) -> str:
    if each.name == "default":
        return text if text.strip() else each.argument
    return _CHANGES[each.name](text, each.argument) if text else ""


def _padded(text: str, argument: str) -> str:
    """`7` and `7a` become `007` and `007a`; what begins with a letter stays as it is."""
    digits = len(text) - len(text.lstrip("0123456789"))
    return text[:digits].zfill(int(argument)) + text[digits:] if digits else text


def _digits(number: int, alphabet: str, count: int) -> str:
    found = ""
    for _ in range(count):
        number, digit = divmod(number, len(alphabet))
        found = alphabet[digit] + found
    return found


def _date(text: str, form: str) -> str:
    day = datetime.fromisoformat(text)

    def part(match: re.Match[str]) -> str:
        if match[0] == "YY":
            return f"{day.year % 100:02}"
        return _DATE_FORMS[match[0]].format(day)

    return _DATE_PART.sub(part, form)


_CHANGES: Mapping[str, Callable[[str, str], str]] = {
    "upper": lambda text, _: text.upper(),
    "lower": lambda text, _: text.lower(),
    "pad": _padded,
    "short": lambda text, argument: text[: int(argument)],
    "b32": lambda text, _: _digits(UUID(text).int, _CROCKFORD, 26),
    "b58": lambda text, _: _digits(UUID(text).int, _BITCOIN, 22),
    "date": lambda text, argument: _date(text, argument.strip() or USUAL_DATE),
}
