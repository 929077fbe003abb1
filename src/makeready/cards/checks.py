"""Everything that is wrong with settings on a template, with these tables: all of it at once.

The same checks run when a template is saved (with a sample), when a generation is ordered (with
its real tables, before a row is written) and in the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from makeready.cards.examination import Examination, check_values
from makeready.cards.geometry import frame
from makeready.cards.imposing import even_size, lay_out
from makeready.cards.placing import check_places
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.scanning import check_codes
from makeready.cards.settings import CardSettings, Colour, ImageField, QrField, read
from makeready.cards.template import TemplateFacts
from makeready.cards.values import SAMPLE_ROWS, BadValue, Row, parse
from makeready.file_names import file_name


def examine(
    facts: TemplateFacts,
    raw: Any,
    rows: Sequence[Row],
    assets: Mapping[str, bytes],
    *,
    is_sample: bool = False,
) -> list[Problem]:
    """All problems of settings that are still JSON: of their form, and then of what they say."""
    settings, wrong = read(raw)
    if settings is None:
        return wrong + _of_template(facts)
    places = {each.path for each in wrong}
    found = problems(facts, settings, rows, assets, is_sample=is_sample)
    return wrong + [each for each in found if each.path not in places]


def problems(
    facts: TemplateFacts,
    settings: CardSettings,
    rows: Sequence[Row],
    assets: Mapping[str, bytes],
    *,
    is_sample: bool = False,
) -> list[Problem]:
    """All problems, those of the template first; a sample without rows gets one of its own."""
    exam = Examination(
        facts=facts,
        settings=settings,
        rows=rows or (SAMPLE_ROWS if is_sample else ()),
        assets=assets,
        is_sample=is_sample,
        problems=_of_template(facts),
    )
    if not exam.rows:
        exam.note("rows_empty", "")
    _check_ids(exam)
    _check_inks(exam)
    check_values(exam)
    check_places(exam)
    _check_sheet(exam)
    if exam.rows:
        check_codes(exam)
        _check_names(exam)
    return exam.problems


def _of_template(facts: TemplateFacts) -> list[Problem]:
    """What was odd when it was looked at."""
    details: dict[str, dict[str, Any]] = {
        "template_active_content": {"kinds": list(facts.active)},
        "template_rgb_group": {"page": next((p.number for p in facts.pages if p.blends_rgb), "")},
        "fonts_not_embedded": {"fonts": [name for name, is_in in facts.fonts if not is_in]},
    }
    return [
        Problem(code=code, is_error=False, facts=details.get(code, {})) for code in facts.warnings
    ]


def _check_ids(exam: Examination) -> None:
    first: dict[str, str] = {}
    for place, each in enumerate(exam.settings.fields):
        path = f"fields[{place}]"
        if each.id in first:
            facts = {"field": each.id, "first": first[each.id]}
            exam.note("field_duplicate_id", f"{path}.id", facts)
        first.setdefault(each.id, path)


def _check_inks(exam: Examination) -> None:
    for place, each in enumerate(exam.settings.fields):
        path = f"fields[{place}]"
        if isinstance(each, ImageField):
            continue
        inks: dict[str, Colour | None] = {"color": each.color}
        if isinstance(each, QrField):
            inks["background"] = each.background
        for name, ink in inks.items():
            if ink is not None and ink.space == "rgb":
                facts = {"field": each.id}
                exam.note("color_rgb", f"{path}.{name}", facts, is_error=False)


def _check_names(exam: Examination) -> None:
    """Names that are equal get numbers; names of nothing but numbers are no help to a printer."""
    expression = parse(exam.settings.name)
    rows_of: dict[str, list[int]] = {}
    for row, data in enumerate(exam.rows):
        try:
            name = file_name(expression.text(data).strip())
        except BadValue as error:
            exam.note(error.code, "output.name", error.facts, rows=[row])
            return
        rows_of.setdefault(name.casefold(), []).append(row)
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    if several:
        facts = {"name": file_name(expression.text(exam.rows[several[0][0]]).strip())}
        rows = [row for group in several for row in group]
        exam.note("name_duplicate", "output.name", facts, is_error=False, rows=rows)


def _check_sheet(exam: Examination) -> None:
    sheet = exam.settings.sheet
    if sheet is None:
        return
    frames = [frame(page) for page in exam.facts.pages]
    try:
        lay_out(sheet, *even_size([(each.width, each.height) for each in frames]))
    except CardsRefused as refused:
        exam.problems += refused.problems
