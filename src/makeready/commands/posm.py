"""Makes table cards from files, without a server.

    makeready posm sample -o try                     a template, its settings, a list of tables
    makeready posm check  template.pdf settings.json tables.csv
    makeready posm stamp  template.pdf settings.json tables.csv -o out
    makeready posm fields template.pdf               settings from the form fields of the PDF

The list of tables is CSV as restaurants import it; what it says beside is `{row.…}` in settings.
Each card is read again and checked before it is written; the first one that fails stops the run.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from makeready import tables_faults
from makeready.cards import values, wording
from makeready.cards.order import Order
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.values import Row
from makeready.config import Settings
from makeready.errors import MakereadyError
from makeready.tables_csv import SheetRefused, TableLine, read_tables

if TYPE_CHECKING:
    from makeready.cards.press import Press

BAR_WIDTH = 40
NAMESPACE = UUID("5f3c1f60-2c5e-4d0a-9a55-2a0f6d6a1d11")
"""Tables of the sample get ids that are the same each time."""


class FileRefused(MakereadyError):
    """A file cannot be used."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = actions.add_parser(
        "sample", help="write a template, settings and tables to try it with"
    )
    made.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    made.add_argument("--tables", type=int, default=12, metavar="N", help="so many tables")
    fields = actions.add_parser("fields", help="print settings made of the PDF's own form fields")
    fields.add_argument("template", type=Path)
    check = actions.add_parser("check", help="say all that is wrong, and print nothing")
    stamp = actions.add_parser("stamp", help="make the cards, and check each of them")
    for one in (check, stamp):
        _with_inputs(one)
    stamp.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    stamp.add_argument("--print", action="store_true", dest="whole", help="print.pdf: all in one")
    stamp.add_argument("--sheet", action="store_true", help="sheet.pdf: imposed as settings say")


def _with_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("template", type=Path, help="the designer's PDF")
    parser.add_argument("settings", type=Path, help="JSON: what is put where")
    parser.add_argument("tables", type=Path, help="CSV: the tables")
    parser.add_argument("--link", metavar="URL", help="https://…/{uuid}, for tables without a url")
    parser.add_argument("--restaurant", default="", metavar="NAME", help="{restaurant.name}")
    parser.add_argument("--city", default="", metavar="CITY", help="{restaurant.city}")
    parser.add_argument("--version", type=int, default=1, metavar="N", help="{generation.version}")
    parser.add_argument(
        "--asset", type=Path, action="append", default=[], metavar="FILE",
        help="a font or a picture that settings name by its sha256; may be given often",
    )  # fmt: skip
    parser.add_argument("--lang", choices=["ru", "en"], default="en", help="of what is said")


def run(_: Settings, options: argparse.Namespace) -> int:
    """0 when all is well; 1 when something is wrong with the files."""
    try:
        return _ACTIONS[options.action](options)
    except CardsRefused as error:
        _tell(error.problems, getattr(options, "lang", "en"))
        return 1


def _sample(options: argparse.Namespace) -> int:
    from makeready.cards import sample  # noqa: PLC0415 -- as in `_press`

    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "template.pdf").write_bytes(sample.template())
    _write_json(folder / "settings.json", sample.settings())
    lines = ["номер;зал;uuid"]
    for table in sample.tables(options.tables):
        own = uuid5(NAMESPACE, table["number"])
        lines.append(f"{table['number']};{table['section']};{own}")
    (folder / "tables.csv").write_text("\n".join(lines) + "\n", "utf-8")
    names = f"{folder}/template.pdf {folder}/settings.json {folder}/tables.csv"
    print(f"makeready posm stamp {names} --link 'https://example.com/t/{{uuid}}' -o {folder}/out")
    return 0


def _fields(options: argparse.Namespace) -> int:
    from makeready.cards import discovery  # noqa: PLC0415 -- as in `_press`
    from makeready.cards.inspection import inspect  # noqa: PLC0415

    found = discovery.settings_from(inspect(options.template.read_bytes()))
    if not found:
        raise FileRefused(f"{options.template} has no form fields such as table.url")
    print(json.dumps(found, ensure_ascii=False, indent=2))
    return 0


def _check(options: argparse.Namespace) -> int:
    from makeready.cards import checks  # noqa: PLC0415 -- as in `_press`
    from makeready.cards.inspection import inspect  # noqa: PLC0415

    order = _order(options)
    facts = inspect(order.pdf)
    found = checks.examine(facts, order.settings, order.rows, order.assets)
    _tell(found, options.lang)
    if any(problem.is_error for problem in found):
        return 1
    print(f"{len(order.rows)} cards can be made")
    return 0


def _stamp(options: argparse.Namespace) -> int:
    folder: Path = options.out
    began = time.perf_counter()
    press = _press(_order(options), options.lang)
    folder.mkdir(parents=True, exist_ok=True)
    indexes = range(len(press.rows))
    names = values.card_names(press.settings.name, press.rows)
    checked = _checked(press)
    for index, name in zip(indexes, names, strict=True):
        (folder / name).write_bytes(checked(index))
        _progress(index + 1, len(indexes))
    _together(press, indexes, options)
    seconds = time.perf_counter() - began
    print(f"{len(indexes)} cards, each read and checked, in {seconds:.2f} s: {folder}")
    return 0


def _together(press: Press, indexes: Sequence[int], options: argparse.Namespace) -> None:
    """All cards in one file, and on sheets, as far as that is asked for."""
    from makeready.cards.print_file import print_file  # noqa: PLC0415 -- as in `_press`
    from makeready.cards.sheets import impose  # noqa: PLC0415

    folder: Path = options.out
    if options.whole:
        (folder / "print.pdf").write_bytes(print_file(press, indexes))
    if options.sheet:
        if press.settings.sheet is None:
            raise FileRefused("the settings say nothing of sheets: give them output.impose")
        (folder / "sheet.pdf").write_bytes(impose(press, indexes, press.settings.sheet))


def _order(options: argparse.Namespace) -> Order:
    assets = [path.read_bytes() for path in options.asset]
    return Order(
        pdf=options.template.read_bytes(),
        settings=_read_json(options.settings),
        rows=_rows(options),
        assets={f"sha256:{hashlib.sha256(each).hexdigest()}": each for each in assets},
    )


def _rows(options: argparse.Namespace) -> list[Row]:
    try:
        sheet = read_tables(options.tables.read_bytes())
    except SheetRefused as error:
        told = "; ".join(
            tables_faults.wording(fault, options.lang)["message"] for fault in error.faults
        )
        raise FileRefused(f"{options.tables}: {told}") from None
    shared: Mapping[str, Mapping[str, str | int | None]] = {
        "restaurant": {"id": "", "name": options.restaurant, "city": options.city, "logo": ""},
        "generation": {
            "version": options.version,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "author": getpass.getuser(),
        },
    }
    return [
        {"table": _table(line, options.link), "row": line.others, **shared} for line in sheet.lines
    ]


def _table(line: TableLine, link: str | None) -> dict[str, str | int | None]:
    own = str(line.uuid or "")
    return {
        "id": own,
        "uuid": own,
        "number": line.number,
        "name": line.name or "",
        "section": line.section or "",
        "seats": line.seats,
        "url": line.url or (link.replace("{uuid}", own) if link and own else ""),
    }


def _press(order: Order, lang: str) -> Press:
    """The template compiled; warnings are told."""
    # PyMuPDF, fontTools and zxing are loaded by the actions that need them.
    from makeready.cards.press import Press  # noqa: PLC0415

    press = Press.open(order)
    _tell(press.warnings, lang)
    return press


def _checked(press: Press) -> Callable[[int], bytes]:
    """Makes one card; raises CardRefused, which names its table."""
    from makeready.cards.verify import Verifier  # noqa: PLC0415 -- as in `_press`

    verifier = Verifier(press)

    def made(index: int) -> bytes:
        card = press.stamp(index)
        verifier.check(card)
        return press.whole(card)

    return made


def _tell(problems: Sequence[Problem], lang: str) -> None:
    for problem in problems:
        message, hint = wording.text(problem, lang)
        level = "error" if problem.is_error else "warning"
        place = f" {problem.path}" if problem.path else ""
        sys.stderr.write(f"{level}{place}: {message} [{problem.code}]\n    {hint}\n")


def _progress(done: int, total: int) -> None:
    """A line that grows in place, on a terminal only."""
    if sys.stdout.isatty():
        full = BAR_WIDTH * done // total
        end = "\n" if done == total else ""
        sys.stdout.write(f"\r[{'#' * full}{'.' * (BAR_WIDTH - full)}] {done} of {total}{end}")
        sys.stdout.flush()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise FileRefused(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise FileRefused(f"{path} is no object of JSON")
    return found


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "sample": _sample,
    "fields": _fields,
    "check": _check,
    "stamp": _stamp,
}
