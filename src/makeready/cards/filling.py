"""Values filled in for all cards of a batch, once for those who check and those who draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from makeready.cards import text
from makeready.cards.problems import Problem
from makeready.cards.settings import CardSettings, Field, ImageField, TextField
from makeready.cards.values import BadValue, Row, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """One field on all cards."""

    field: Field
    path: str
    """In the settings, such as `fields[0]`."""
    texts: tuple[str | None, ...]
    """A text a row, as it is printed; None where the field's condition leaves it out."""

    @property
    def distinct(self) -> tuple[str, ...]:
        """Each text that is printed, once."""
        return tuple(dict.fromkeys(each for each in self.texts if each is not None))


def fill(
    settings: CardSettings, rows: Sequence[Row]
) -> tuple[tuple[Filled, ...], tuple[Problem, ...]]:
    """All fields with all rows, and what could not be filled in, which counts as empty."""
    problems: list[Problem] = []
    fields = []
    for number, field in enumerate(settings.fields):
        path = f"fields[{number}]"
        shown = _column(field.condition, rows, f"{path}.if", problems) if field.condition else None
        value = "" if isinstance(field, ImageField) else field.value
        texts = _column(value, rows, f"{path}.value", problems)
        if isinstance(field, TextField):
            texts = [text.cleaned(each, field.case) for each in texts]
        kept = (
            each if shown is None or shown[index].strip() else None
            for index, each in enumerate(texts)
        )
        fields.append(Filled(field=field, path=path, texts=tuple(kept)))
    return tuple(fields), tuple(problems)


def label(row: Row) -> str:
    """What people call the table: its number, else its name or id."""
    table = row.get("table", {})
    found = (table.get(name) for name in ("number", "name", "uuid", "id"))
    return next((str(each) for each in found if each not in {None, ""}), "")


def labels(filled: Filled, rows: Sequence[Row], texts: Iterable[str]) -> tuple[str, ...]:
    """The tables that have one of these texts in the field."""
    wanted = set(texts)
    return tuple(
        label(row) for row, each in zip(rows, filled.texts, strict=True) if each in wanted
    )


def _column(value: str, rows: Sequence[Row], path: str, problems: list[Problem]) -> list[str]:
    try:
        expression = parse(value)
    except BadValue as error:
        problems.append(Problem(code=error.code, path=path, facts=error.facts))
        return [""] * len(rows)
    if not expression.paths:
        return [expression.text({})] * len(rows)
    texts = []
    failed: list[tuple[str, BadValue]] = []
    for row in rows:
        try:
            texts.append(expression.text(row))
        except BadValue as error:
            texts.append("")
            failed.append((label(row), error))
    if failed:
        first = failed[0][1]
        tables = tuple(name for name, _ in failed)
        problems.append(Problem(code=first.code, path=path, facts=first.facts, tables=tables))
    return texts
