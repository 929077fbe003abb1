"""The JSON Schema of card settings; what it cannot say stands in `settings` and `checks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_FIELDS = 50
MAX_PAGES = 20
"""On which something is stamped."""
SHEETS_MM = {
    "A5": (148.0, 210.0),
    "A4": (210.0, 297.0),
    "A3": (297.0, 420.0),
    "A2": (420.0, 594.0),
    "SRA4": (225.0, 320.0),
    "SRA3": (320.0, 450.0),
    "SRA2": (450.0, 640.0),
    "Letter": (215.9, 279.4),
    "Tabloid": (279.4, 431.8),
}
ASSET = "^sha256:[0-9a-f]{64}$"

_VALUE = {
    "type": "string",
    "maxLength": 1000,
    "description": "Text with values such as {table.number}",
}


def _number(low: float, high: float, about: str) -> dict[str, Any]:
    return {"type": "number", "minimum": low, "maximum": high, "description": about}


def _integer(low: int, high: int, about: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "description": about}


def _words(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


def _closed(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": dict(properties),
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


_FLAG = {"type": "boolean"}
_NULL = {"type": "null"}
_INK = {"type": "object", **_ref("ink")}
_PART = _number(0, 1, "Ink, 0 to 1")
_INKS = {"type": "array", "minItems": 4, "maxItems": 4, "items": _PART}
_PLACED = {
    "id": {
        "type": "string",
        "pattern": "^[A-Za-zА-Яа-яЁё0-9_.-]{1,60}$",
        "description": "Letters, digits, _ . and -, at most 60",
    },
    "kind": _words("qr", "text", "image"),
    "pages": _ref("pages"),
    "x": _number(-5000, 5000, "mm from the left edge of the origin box"),
    "y": _number(-5000, 5000, "mm from the top edge of the origin box"),
    "width": _number(0.1, 5000, "mm"),
    "height": _number(0.1, 5000, "mm"),
    "rotate": _number(-360, 360, "Degrees clockwise about the centre"),
    "if": _VALUE,
}
_ALIGNED = {
    "align": _words("left", "center", "right"),
    "valign": _words("top", "middle", "bottom"),
}
_REQUIRED = ("id", "kind", "x", "y", "width", "height")
_QR = _PLACED | _ALIGNED | {
    "value": _VALUE,
    "ecc": _words("L", "M", "Q", "H"),
    "boost": _FLAG,
    "version": {"anyOf": [_words("auto"), _integer(1, 40, "Version of the symbol")]},
    "mask": {"anyOf": [_words("auto"), _integer(0, 7, "Mask of the symbol")]},
    "quiet_zone": _number(0, 40, "Modules, at least 4"),
    "background": {
        "anyOf": [_words("none", "white", "black"), _INK, _NULL],
    },
    "color": _ref("color"),
    "logo": {
        "anyOf": [
            _NULL,
            _closed({"asset": _ref("asset"), "area": _number(0.01, 1, "Of the symbol")}, "asset"),
        ]
    },
    "scan_distance_mm": _number(10, 100000, "mm between the code and the phone"),
}  # fmt: skip
_TEXT = _PLACED | _ALIGNED | {
    "value": _VALUE,
    "font": _ref("font"),
    "weight": _words("regular", "bold"),
    "size": _number(1, 1000, "Points"),
    "min_size": _number(1, 1000, "Points"),
    "fit": _words("shrink", "none"),
    "max_lines": _integer(1, 50, "Lines"),
    "line_height": _number(0.5, 5, "Times the size"),
    "letter_spacing": _number(-50, 200, "Points"),
    "color": _ref("color"),
    "case": _words("none", "upper", "lower"),
}  # fmt: skip
_IMAGE = _PLACED | {"asset": _ref("asset"), "fit": _words("contain", "cover", "stretch")}
_IMPOSE = {
    "sheet": {
        "anyOf": [
            _words(*SHEETS_MM),
            _closed(
                {"width": _number(20, 5000, "mm"), "height": _number(20, 5000, "mm")},
                "width",
                "height",
            ),
        ]
    },
    "cols": _integer(1, 100, "Cards beside each other"),
    "rows": _integer(1, 100, "Cards below each other"),
    "bleed": _number(0, 50, "mm around each card"),
    "gutter": _number(0, 200, "mm between cards with their bleed"),
    "crop_marks": _FLAG,
    "duplex": _words("none", "long-edge", "short-edge"),
    "start": _integer(0, 9999, "Places of the first sheet that are used up"),
    "order": _words("rows", "stack"),
    "fold": _FLAG,
}


def _kind(name: str) -> dict[str, Any]:
    condition = {"properties": {"kind": {"const": name}}, "required": ["kind"]}
    return {"if": {"type": "object", **condition}, "then": _ref(name)}


SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Card settings",
    **_closed(
        {
            "schema": {"type": "integer", "enum": [1]},
            "origin": _closed(
{"box": _words("trim", "crop", "media"), "corner": _words("top-left")}
),
            "units": _words("mm"),
            "defaults": _closed({"color": _ref("color"), "font": _ref("font")}),
            "limits": _closed(
                {
                    "min_module_mm": _number(0.2, 10, "mm; smaller modules are warned of"),
                    "min_module_error_mm": _number(0.2, 10, "mm; smaller modules are refused"),
                }
            ),
            "fields": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_FIELDS,
                "items": {
                    "type": "object",
                    "required": ["kind"],
                    "properties": {"kind": _PLACED["kind"]},
                    "allOf": [_kind("qr"), _kind("text"), _kind("image")],
                },
            },
            "output": _closed(
                {
                    "name": _VALUE,
                    "print_pdf": _FLAG,  # without effect: print files are made when asked for
                    "impose": {
                        "anyOf": [_NULL, _closed(_IMPOSE, "sheet", "cols", "rows")]
                    },
                }
            ),
            "verify": _closed(
                {
                    "mode": _words("full"),
                    "sample_cold_every": _integer(1, 100000, "Cards"),
                    "check_text": _FLAG,
                }
            ),
        },
        "fields",
    ),
    "$defs": {
        "asset": {
            "type": "string",
            "pattern": ASSET,
            "description": "sha256: and 64 digits of an uploaded file",
        },
        "font": {
            "type": "string",
            "pattern": "^[A-Za-z0-9:_-]{1,80}$",
            "description": "noto-sans, or sha256: and 64 digits of an uploaded font",
        },
        "pages": {
            "anyOf": [
                _words("all", "odd", "even"),
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_PAGES,
                    "items": _integer(-200, 200, "1 is the first page, -1 the last"),
                },
            ]
        },
        "color": {"anyOf": [_words("black", "white"), _INK]},
        "ink": _closed(
            {
                "cmyk": _INKS,
                "gray": _number(0, 1, "0 black to 1 white"),
                "rgb": {
                    "type": "string",
                    "pattern": "^#[0-9a-fA-F]{6}$",
                    "description": "#rrggbb",
                },
                "spot": _closed(
                    {
                        "name": {"type": "string", "minLength": 1, "maxLength": 100},
                        "cmyk": _INKS,
                        "tint": _PART,
                    },
                    "name",
                    "cmyk",
                ),
            }
        ),
        "qr": _closed(_QR, *_REQUIRED, "value"),
        "text": _closed(_TEXT, *_REQUIRED, "value"),
        "image": _closed(_IMAGE, *_REQUIRED, "asset"),
    },
}  # fmt: skip
