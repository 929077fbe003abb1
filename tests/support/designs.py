"""A document type that staff bring: a parcel label."""

from __future__ import annotations

import base64
import json
from typing import Any

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNk+M/wHwAEBgIApD5fRAAAAABJRU5ErkJg"
    "gg=="
)
TEMPLATE = """<!doctype html>
<html lang="{{ lang }}"><head><meta charset="utf-8"><title>{{ t.label }}</title>
<style>{% include "shared/base.css" %} @page { size: A5 landscape; margin: 8mm }</style></head>
<body><img src="{{ asset('logo.png') }}" width="40" alt="">
<h1>{{ t.label }} {{ data.number }}</h1><p>{{ t.to }}: {{ data.to }}</p>
{{ qr(data.number) }}</body></html>
"""


def label(**changes: Any) -> dict[str, Any]:
    """Its payload; `changes` replace parts of it, None leaves one out."""
    facts: dict[str, Any] = {
        "titles": {"ru": "Ярлык посылки", "en": "Parcel label"},
        "descriptions": {"ru": "Кому и номер", "en": "To whom, and the number"},
        "tier": "free",
        "enabled": True,
        "print": {"paper": "A5", "landscape": True},
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "required": ["number", "to"],
            "properties": {
                "number": {"type": "string", "pattern": "^[A-Z0-9-]+$", "maxLength": 40},
                "to": {"type": "string", "minLength": 1, "maxLength": 200},
            },
        },
        "words": {
            "ru": {"label": "Посылка", "to": "Кому"},
            "en": {"label": "Parcel", "to": "To"},
        },
        "sources": {"template.html.j2": TEMPLATE},
        "samples": {
            "ru": {"number": "RA-100", "to": "Анна Ковалёва"},
            "en": {"number": "RA-100", "to": "Anna Kovalyova"},
        },
        "assets": {
            "logo.png": {"media_type": "image/png", "base64": base64.b64encode(PIXEL).decode()}
        },
    }
    facts |= changes
    return {name: part for name, part in facts.items() if part is not None}


def label_text(**changes: Any) -> str:
    """As a text."""
    return json.dumps(label(**changes), ensure_ascii=False)


def templated(body: str) -> dict[str, str]:
    """`sources` of a page with this body."""
    return {"template.html.j2": f"<!doctype html><html><body>{body}</body></html>"}
