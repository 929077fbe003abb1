"""How templates of cards look in answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from makeready.cards.geometry import Box, frame
from makeready.posm_templates import Template
from makeready.stamping import TemplateFacts, facts_of
from makeready_http.operations import (
    ANYTHING,
    ID,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    array,
    nullable,
    record,
)

_NUMBER: Schema = {"type": "number"}
_PAGE = record(
    {
        "page": WHOLE,
        "width_mm": _NUMBER,
        "height_mm": _NUMBER,
        "bleed_mm": {**array(_NUMBER), "description": "Left, top, right, bottom."},
        "rotate": WHOLE,
    }
)
_FILE = record(
    {
        "sha256": TEXT,
        "size_bytes": WHOLE,
        "pages": array(_PAGE),
        "has_cmyk": TRUTH,
        "fonts": array(record({"name": TEXT, "is_embedded": TRUTH})),
        "form_fields": array(record({"name": TEXT, "page": WHOLE})),
        "producer": TEXT,
        "pdf_version": TEXT,
    }
)
_COMMON: Mapping[str, Schema] = {
    "id": ID,
    "name": TEXT,
    "description": TEXT,
    "visibility": TEXT,
    "brand": nullable(TEXT),
    "restaurant_ids": array(ID),
    "version": WHOLE,
    "author": TEXT,
    "created_at": TIME,
    "updated_at": TIME,
}
TEMPLATE_IN_LIST = record({**_COMMON, "pages": WHOLE, "size_bytes": WHOLE})
TEMPLATE = record({**_COMMON, "settings": ANYTHING, "file": _FILE})


def listed_template(row: Template) -> dict[str, Any]:
    """A template in a list: what one chooses by."""
    pages = len(row.inspection["pages"])
    return _common(row) | {"pages": pages, "size_bytes": row.byte_count}


def template_item(row: Template) -> dict[str, Any]:
    """A template with its settings and what its PDF is."""
    file = {"sha256": row.sha256.hex(), "size_bytes": row.byte_count}
    file |= _file(facts_of(row.inspection))
    return _common(row) | {"settings": row.settings, "file": file}


def _common(row: Template) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "visibility": row.visibility,
        "brand": row.brand,
        "restaurant_ids": list(row.restaurants),
        "version": row.version,
        "author": row.author,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _file(facts: TemplateFacts) -> dict[str, Any]:
    pages = []
    for page in facts.pages:
        found = frame(page)
        pages.append(
            {
                "page": page.number,
                "width_mm": round(found.width, 2),
                "height_mm": round(found.height, 2),
                "bleed_mm": _margins(found.bleed, found.width, found.height),
                "rotate": page.rotate,
            }
        )
    return {
        "pages": pages,
        "has_cmyk": facts.has_cmyk,
        "fonts": [{"name": name, "is_embedded": embedded} for name, embedded in facts.fonts],
        "form_fields": [{"name": each.name, "page": each.page} for each in facts.form_fields],
        "producer": facts.producer,
        "pdf_version": facts.pdf_version,
    }


def _margins(box: Box, width: float, height: float) -> list[float]:
    """How far a box sticks out on each side."""
    x0, y0, x1, y1 = box
    return [max(0.0, round(each, 2)) for each in (-x0, -y0, x1 - width, y1 - height)]
