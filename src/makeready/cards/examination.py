"""What checks look at: a template, settings and all cards' data; and where they note problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from makeready.cards.filling import label
from makeready.cards.findings import Materials, gather
from makeready.cards.problems import Problem
from makeready.cards.settings import CardSettings, ImageField
from makeready.cards.template import TemplateFacts
from makeready.cards.values import Row, known_paths, nearest, parse

MAX_TEXT = 4000
"""Characters of a filled-in value."""


@dataclass(slots=True, kw_only=True)
class Examination:
    """One template, its settings and the data of all cards."""

    facts: TemplateFacts
    settings: CardSettings
    rows: Sequence[Row]
    assets: Mapping[str, bytes]
    is_sample: bool
    problems: list[Problem]
    materials: Materials = field(init=False)

    def __post_init__(self) -> None:
        """Fills all values in, and notes what they cannot be printed with."""
        self.materials, found = gather(self.settings, self.rows, self.assets)
        self.problems += found

    def note(
        self,
        code: str,
        path: str,
        facts: Mapping[str, Any] | None = None,
        *,
        is_error: bool = True,
        rows: Iterable[int] = (),
    ) -> None:
        """Notes a problem of these rows, by their places; one of all rows names none."""
        places = sorted(set(rows))
        named = () if self.is_sample or len(places) == len(self.rows) > 1 else places
        tables = tuple(label(self.rows[place]) for place in named)
        self.problems.append(
            Problem(code=code, path=path, is_error=is_error, facts=facts or {}, tables=tables)
        )


def check_values(exam: Examination) -> None:
    """Notes values that name a column the data has not, or that are endless."""
    columns = sorted({name for row in exam.rows for name in row.get("row", {})})
    for each in exam.materials.filled:
        value = "" if isinstance(each.field, ImageField) else each.field.value
        _check_columns(exam, value, f"{each.path}.value", columns)
        _check_columns(exam, each.field.condition, f"{each.path}.if", columns)
        long = [row for row, text in enumerate(each.texts) if text and len(text) > MAX_TEXT]
        if long:
            length = len(each.texts[long[0]] or "")
            facts = {"field": each.field.id, "length": length, "most": MAX_TEXT}
            exam.note("value_too_long", f"{each.path}.value", facts, rows=long)
    _check_columns(exam, exam.settings.name, "output.name", columns)


def _check_columns(exam: Examination, value: str, path: str, columns: Sequence[str]) -> None:
    """A sample has no columns: what is uploaded later may have any."""
    if exam.is_sample or "row." not in value:
        return
    for name in sorted(parse(value).columns - set(columns)):
        facts = {
            "case": "column" if columns else "no_columns",
            "name": f"row.{name}",
            "nearest": nearest(f"row.{name}", known_paths(columns)),
            "known": list(columns),
        }
        exam.note("field_unknown_var", path, facts)
