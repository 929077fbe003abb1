"""A restaurant's tables out of a file as people make them: of Excel, of a till, of an editor.

The first line names the columns, in Russian or English, in any order. Encoding and separator are
found out: UTF-8 with or without its mark, UTF-16 with it, else windows-1251; comma, semicolon,
tab or bar, whichever makes the most of the first line. All that is wrong is told at once, with
the number of the line in the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from makeready.errors import MakereadyError
from makeready.shapes import MAX_PROBLEMS, cut
from makeready.tables_faults import Fault

MAX_LINES = 5000
MAX_COLUMNS = 50
NUMBER_LENGTH = 40
NAME_LENGTH = 200
SECTION_LENGTH = 100
URL_LENGTH = 2000
SEATS_MOST = 1000
SEPARATORS = ";,\t|"

_NAMES: Mapping[str, frozenset[str]] = {
    "number": frozenset({"number", "no", "nr", "num", "table", "label", "#", "table number"})
    | {"table no", "номер", "№", "n", "стол", "столик", "номер стола", "номер столика"}
    | {"№ стола", "стол №"},
    "name": frozenset({"name", "title", "table name", "название", "имя", "наименование"})
    | {"название стола", "наименование стола", "название столика"},
    "section": frozenset({"section", "hall", "hall name", "room", "zone", "area"})
    | {"зал", "название зала", "зона", "секция", "помещение"},
    "seats": frozenset({"seats", "places", "capacity", "guests", "мест", "места", "число мест"})
    | {"количество мест", "кол во мест", "посадочных мест", "вместимость", "гостей"},
    "url": frozenset({"url", "link", "ссылка", "адрес ссылки"}),
    "uuid": frozenset({"uuid", "guid", "table uuid", "uuid стола"}),
}
_COLUMN_OF = {word: name for name, words in _NAMES.items() for word in words}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOREIGN = (
    (b"PK\x03\x04", "xlsx"),
    (b"\xd0\xcf\x11\xe0", "xls"),
    (b"%PDF-", "pdf"),
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLine:
    """One table as its line says."""

    line: int
    """Of the file, from 1."""
    number: str
    name: str | None = None
    section: str | None = None
    seats: int | None = None
    url: str | None = None
    uuid: UUID | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    """What stands in columns that nobody knows, by their names in small letters, with `_`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSheet:
    """A file that was read."""

    encoding: str
    separator: str
    columns: tuple[str, ...]
    """Those that are known, in the order of the file."""
    ignored: tuple[str, ...]
    """Those that nobody knows, as they are written."""
    lines: tuple[TableLine, ...]


class SheetRefused(MakereadyError):
    """The file cannot be read as a list of tables."""

    code = "validation_failed"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"{len(faults)} problems")
        self.faults = tuple(faults)


def read_tables(raw: bytes) -> TableSheet:
    """The tables of a file; raises SheetRefused with all that is wrong, but at most 100 faults."""
    encoding, text = _text(raw)
    skipped, separator, text = _begun(text)
    faults: list[Fault] = []
    records = _records(text, separator, skipped, faults)
    at, head = next(records, (0, []))
    if not head:
        raise SheetRefused(faults or [Fault(code="empty")])
    columns = _columns(at, head, faults)
    known = {name for name in columns if name}
    if "number" not in known:
        raise SheetRefused([*faults, _no_number(at, head)])
    lines = _lines(records, list(zip(head, columns, strict=True)), separator, faults)
    if not lines and not faults:
        faults.append(Fault(code="no_tables"))
    faults += _twice(lines)
    if faults:
        raise SheetRefused(sorted(faults, key=lambda each: each.line)[:MAX_PROBLEMS])
    return TableSheet(
        encoding=encoding,
        separator=separator,
        columns=tuple(name for name in columns if name),
        ignored=tuple(
            cut(cell) for cell, name in zip(head, columns, strict=True) if cell and not name
        ),
        lines=tuple(lines),
    )


def _text(raw: bytes) -> tuple[str, str]:
    for mark, kind in _FOREIGN:
        if raw.startswith(mark):
            raise SheetRefused([Fault(code="not_csv", facts={"kind": kind})])
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            try:
                return encoding, raw.removeprefix(mark).decode(encoding)
            except UnicodeDecodeError as error:
                at = raw.count(b"\n", 0, len(mark) + error.start) + 1
                raise SheetRefused(
                    [Fault(code="bad_encoding", line=at, facts={"encoding": encoding})]
                ) from None
    try:
        return "utf-8", raw.decode()
    except UnicodeDecodeError:
        return "cp1251", raw.decode("cp1251", errors="replace")


def _begun(text: str) -> tuple[int, str, str]:
    """Lines before the header, the separator, and the text from the header on."""
    first, _, rest = text.partition("\n")
    stated = re.fullmatch(rf"sep=([{SEPARATORS}])\r?", first, re.IGNORECASE)
    if stated:  # Excel's own way of saying it
        return 1, stated[1], rest
    return 0, max(SEPARATORS, key=lambda mark: _sense(text, mark)), text


def _sense(text: str, separator: str) -> tuple[int, int]:
    """How much of the first line a separator makes: known names, then cells."""
    for _, cells in _records(text, separator, 0, []):
        return len({_COLUMN_OF.get(_word(cell)) for cell in cells} - {None}), len(cells)
    return 0, 0


def _records(
    text: str, separator: str, skipped: int, faults: list[Fault]
) -> Iterator[tuple[int, list[str]]]:
    """The number of its first line and its cells, for every record that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    at = skipped + 1
    try:
        for record in reader:
            cells = [_clean(cell) for cell in record]
            if any(cells):
                yield at, cells
            at = skipped + reader.line_num + 1
    except csv.Error as error:  # what follows a quotation mark that is not closed is anything
        code = "too_long" if "larger than field limit" in str(error) else "bad_quotes"
        faults.append(Fault(code=code, line=at, facts={"most": csv.field_size_limit()}))


def _clean(cell: str) -> str:
    return _SPACES.sub(" ", unicodedata.normalize("NFC", cell)).strip()


def _word(cell: str) -> str:
    """A column's name as it is looked up."""
    text = cell.casefold().replace("ё", "е").translate(str.maketrans("_-/.:*", "      "))
    return _SPACES.sub(" ", text).strip()


def _columns(at: int, head: Sequence[str], faults: list[Fault]) -> list[str | None]:
    found: list[str | None] = []
    for cell in head[:MAX_COLUMNS]:
        name = _COLUMN_OF.get(_word(cell))
        if name is not None and name in found:
            faults.append(Fault(code="column_twice", line=at, column=name))
        found.append(name)
    if len(head) > MAX_COLUMNS:
        faults.append(Fault(code="too_many_columns", line=at, facts={"most": MAX_COLUMNS}))
    return found + [None] * (len(head) - len(found))


def _no_number(at: int, head: Sequence[str]) -> Fault:
    found = ", ".join(f"«{cut(cell)}»" for cell in head[:10])
    return Fault(code="no_number_column", line=at, facts={"found": found})


def _lines(
    records: Iterator[tuple[int, list[str]]],
    columns: Sequence[tuple[str, str | None]],
    separator: str,
    faults: list[Fault],
) -> list[TableLine]:
    found: list[TableLine] = []
    for count, (at, cells) in enumerate(records):
        if count == MAX_LINES:
            faults.append(Fault(code="too_many_lines", line=at, facts={"most": MAX_LINES}))
            break
        line = _line(at, cells, columns, separator, faults)
        if line is not None:
            found.append(line)
        if len(faults) >= MAX_PROBLEMS:
            break
    return found


def _line(
    at: int,
    cells: Sequence[str],
    columns: Sequence[tuple[str, str | None]],
    separator: str,
    faults: list[Fault],
) -> TableLine | None:
    if any(cells[len(columns) :]):
        facts = {"found": len(cells), "expected": len(columns)}
        faults.append(Fault(code="too_many_cells", line=at, facts=facts))
        return None
    marks = [mark for mark in SEPARATORS if mark != separator and mark in cells[0]]
    if len(cells) == 1 < len(columns) and marks:
        faults.append(Fault(code="other_separator", line=at, facts={"found": marks[0]}))
        return None
    values: dict[str, Any] = {}
    others: dict[str, str] = {}
    before = len(faults)
    for (title, name), cell in zip(columns, cells, strict=False):
        if name is not None and cell:
            values[name] = _value(at, name, cell, faults)
        elif name is None and title:
            others[_word(title).replace(" ", "_")] = cell
    if "number" not in values:
        faults.append(Fault(code="number_missing", line=at, column="number"))
    return None if len(faults) > before else TableLine(line=at, others=others, **values)


def _value(at: int, name: str, cell: str, faults: list[Fault]) -> Any:
    odd = _UNPRINTABLE.search(cell) or re.search("\ufffd", cell)
    if odd:
        named = {"character": f"U+{ord(odd[0]):04X}"}
        faults.append(Fault(code="bad_character", line=at, column=name, facts=named))
        return None
    try:
        return _READERS[name](cell)
    except ValueError as error:
        facts = {"value": cut(cell), "most": _MOST[name]}
        faults.append(Fault(code=str(error), line=at, column=name, facts=facts))
        return None


def _short(most: int) -> Callable[[str], str]:
    def read(cell: str) -> str:
        if len(cell) > most:
            raise ValueError("too_long")
        return cell

    return read


def _seats(cell: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})(?:[.,]0+)?", cell)  # a spreadsheet may write 4,0
    if not found or int(found[1]) > SEATS_MOST:
        raise ValueError("bad_seats")
    return int(found[1])


def _url(cell: str) -> str:
    _short(URL_LENGTH)(cell)
    try:
        parts = urlsplit(cell)
    except ValueError:
        raise ValueError("bad_url") from None
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or " " in cell:
        raise ValueError("bad_url")
    return cell


def _uuid(cell: str) -> UUID:
    try:
        return UUID(cell)
    except ValueError:
        raise ValueError("bad_uuid") from None


_READERS: Mapping[str, Callable[[str], Any]] = {
    "number": _short(NUMBER_LENGTH),
    "name": _short(NAME_LENGTH),
    "section": _short(SECTION_LENGTH),
    "seats": _seats,
    "url": _url,
    "uuid": _uuid,
}
_MOST = {
    "number": NUMBER_LENGTH,
    "name": NAME_LENGTH,
    "section": SECTION_LENGTH,
    "seats": SEATS_MOST,
    "url": URL_LENGTH,
    "uuid": 36,
}


def _twice(lines: Sequence[TableLine]) -> list[Fault]:
    """Tables that stand there more than once: by uuid, or by their number in a section."""
    faults: list[Fault] = []
    first: dict[tuple[object, ...], int] = {}
    for line in lines:
        keys: dict[str, tuple[object, ...]] = {"number": (line.number, line.section)}
        if line.uuid is not None:
            keys["uuid"] = (line.uuid,)
        for name, key in keys.items():
            earlier = first.setdefault(key, line.line)
            if earlier != line.line:
                facts = {"value": str(key[0]), "first": earlier}
                faults.append(Fault(code="twice", line=line.line, column=name, facts=facts))
    return faults
