"""Records as JSON: for the way to the stamping process and back, and for the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from makeready.cards.geometry import Box
from makeready.cards.order import Order
from makeready.cards.problems import Problem
from makeready.cards.template import FormField, PageFacts, TemplateFacts

Json = Mapping[str, Any]


def facts_json(facts: TemplateFacts) -> dict[str, Any]:
    """What is known of a template, as it is kept with it."""
    return asdict(facts)


def facts_of(found: Json) -> TemplateFacts:
    """The record again; raises TypeError or KeyError when it is no such thing."""
    lists = {
        "pages": tuple(_page(page) for page in found["pages"]),
        "fonts": tuple((name, is_embedded) for name, is_embedded in found["fonts"]),
        "form_fields": tuple(
            FormField(**{**field, "box": _box(field["box"])}) for field in found["form_fields"]
        ),
        "warnings": tuple(found["warnings"]),
        "active": tuple(found["active"]),
    }
    return TemplateFacts(**{**found, **lists})


def problems_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Findings."""
    return [asdict(problem) for problem in problems]


def problems_of(found: Iterable[Json]) -> list[Problem]:
    """The records again."""
    return [Problem(**{**each, "tables": tuple(each["tables"])}) for each in found]


def order_parts(order: Order) -> tuple[dict[str, Any], list[bytes]]:
    """An order as JSON and files."""
    head = {
        "settings": dict(order.settings),
        "rows": [dict(row) for row in order.rows],
        "assets": list(order.assets),
    }
    return head, [order.pdf, *order.assets.values()]


def order_of(
    files: Sequence[bytes], *, settings: Json, rows: Sequence[Any], assets: Sequence[str]
) -> Order:
    """The order again."""
    pdf, *rest = files
    return Order(
        pdf=pdf, settings=settings, rows=rows, assets=dict(zip(assets, rest, strict=True))
    )


def _page(found: Json) -> PageFacts:
    boxes = {name: _box(found[name]) for name in ("media", "crop", "trim", "bleed")}
    painted = tuple((kind, _box(box)) for kind, box in found["annotations"])
    return PageFacts(**{**found, **boxes, "annotations": painted})


def _box(found: Sequence[float]) -> Box:
    x0, y0, x1, y1 = found
    return x0, y0, x1, y1
