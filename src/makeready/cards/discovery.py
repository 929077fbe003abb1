"""Settings that a template brings along: fields of its form, and notes, that mark places.

A designer who draws a form field named `{table.url}` or `table.number` has said what belongs
there; nobody has to type coordinates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from makeready.cards.geometry import MM_PER_POINT, frame, inverse, moved
from makeready.cards.markers import marked
from makeready.cards.schema import MAX_FIELDS
from makeready.cards.template import FormField, TemplateFacts
from makeready.cards.values import BadValue, Expression, parse

_SIZES_PT = (6.0, 72.0)
_LEAST_PT = 6.0


def settings_from(facts: TemplateFacts) -> dict[str, Any]:
    """Settings with a field for each place that is marked; an empty object: none is."""
    fields: list[dict[str, Any]] = []
    for each in facts.form_fields:
        found = _value(each.name)
        if found is not None and 1 <= each.page <= len(facts.pages):
            _add(fields, _field(facts, each, found))
    named = [{**field, "id": name} for field, name in zip(fields, _names(fields), strict=True)]
    return {"schema": 1, "fields": named[:MAX_FIELDS]} if named else {}


def _value(name: str) -> Expression | None:
    """What a field of this name is to say."""
    text = marked(name)
    try:
        found = parse(text)
    except BadValue:
        return None
    return found if found.paths and len(text) <= 1000 else None


def _field(facts: TemplateFacts, each: FormField, value: Expression) -> dict[str, Any]:
    page = facts.pages[each.page - 1]
    to_mm = inverse(frame(page).matrix)
    x0, y0, x1, y1 = (round(side, 2) for side in moved(each.box, to_mm))
    place = {"pages": [each.page], "x": x0, "y": y0}
    place |= {"width": max(round(x1 - x0, 2), 0.1), "height": max(round(y1 - y0, 2), 0.1)}
    if value.paths == {"table.url"} and value.source.startswith("{"):
        return {"id": "qr", "kind": "qr", **place, "value": value.source}
    low, high = _SIZES_PT
    size = each.size or min(max((y1 - y0) / MM_PER_POINT / 1.4, low), high)
    size = round(min(max(size, 1.0), 1000.0), 1)
    words = {"size": size, "min_size": min(size, _LEAST_PT), "align": "center", "valign": "middle"}
    leaf = min(value.paths).partition(".")[2]
    return {"id": leaf, "kind": "text", **place, "value": value.source, **words}


def _add(fields: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """The same field in the same place of another page is one field on both."""
    for each in fields:
        if {**each, "pages": 0} == {**found, "pages": 0}:
            each["pages"] = sorted({*each["pages"], *found["pages"]})
            return
    fields.append(found)


def _names(fields: list[dict[str, Any]]) -> Iterator[str]:
    """Each id once; letters that an id may not have are left out."""
    taken: set[str] = set()
    for each in fields:
        name = re.sub("[^A-Za-zА-Яа-яЁё0-9_.-]", "", each["id"])[:50] or each["kind"]
        number, chosen = 1, name
        while chosen in taken:
            number += 1
            chosen = f"{name}-{number}"
        taken.add(chosen)
        yield chosen
