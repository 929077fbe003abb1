"""JSON Schema with answers for people: all problems at once, each with its place and a hint."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from referencing import Registry

MAX_PROBLEMS = 100
_SHOWN = 60  # characters of a wrong value

_CODES = {
    "additionalProperties": "unknown_field",
    "const": "not_allowed",
    "enum": "not_allowed",
    "format": "bad_format",
    "maxItems": "too_many",
    "maxLength": "too_long",
    "maximum": "out_of_range",
    "exclusiveMaximum": "out_of_range",
    "minItems": "too_few",
    "minLength": "too_short",
    "minimum": "out_of_range",
    "exclusiveMinimum": "out_of_range",
    "pattern": "bad_format",
    "required": "missing_field",
    "type": "wrong_type",
    "uniqueItems": "repeated",
}


def find_problems(schema: Mapping[str, Any], instance: Any) -> list[dict[str, str]]:
    """All problems of `instance`, by path, at most `MAX_PROBLEMS`; empty when it fits.

    A problem is {code, path, message, hint}; a path such as `lines[2].price`, empty for the whole.
    """
    found = [
        problem for error in _validator(schema).iter_errors(instance) for problem in _split(error)
    ]
    return sorted(found, key=lambda problem: problem["path"])[:MAX_PROBLEMS]


def problem(code: str, path: str, message: str, hint: str) -> dict[str, str]:
    """One problem in the shape of the error contract."""
    return {"code": code, "path": path, "message": message, "hint": hint}


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises jsonschema's SchemaError when the schema itself is wrong."""
    Draft202012Validator.check_schema(schema)


def _validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    # An empty registry: a reference to an address must never be fetched.
    return Draft202012Validator(schema, registry=Registry(), format_checker=_formats())


@functools.cache
def _formats() -> FormatChecker:
    return FormatChecker(["date", "email"])


def _split(error: ValidationError) -> Iterator[dict[str, str]]:
    """One error of jsonschema names all unknown fields of an object; people want each."""
    path, schema = _path(error.absolute_path), _mapping(error.schema)
    properties, given = _mapping(schema.get("properties")), _mapping(error.instance)
    if error.validator == "required":
        # One error for each name, but only its message says which.
        for name in schema.get("required", ()):
            if name not in given and error.message.startswith(repr(name)):
                hint = _described(_mapping(properties.get(name)))
                yield problem("missing_field", _join(path, name), f"{name} is missing", hint)
    elif error.validator == "additionalProperties":
        hint = f"known fields: {', '.join(sorted(properties))}"
        for name in sorted(set(given) - set(properties)):
            yield problem("unknown_field", _join(path, name), f"{name} is not a field here", hint)
    else:
        yield _plain(path, error)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain(path: str, error: ValidationError) -> dict[str, str]:
    keyword, wanted = str(error.validator), error.validator_value
    shown = json.dumps(error.instance, ensure_ascii=False, default=str)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "…"
    message = {
        "type": f"{shown} is not of type {_listed(wanted)}",
        "enum": f"{shown} is not one of the allowed values",
        "minItems": f"{_count(error)} entries are too few",
        "maxItems": f"{_count(error)} entries are too many",
        "minLength": f"{_count(error)} characters are too few",
        "maxLength": f"{_count(error)} characters are too many",
    }.get(keyword, f"{shown} does not fit {keyword}")
    described = _described(_mapping(error.schema))
    expected = f"expected {keyword}: {_listed(wanted)}"
    hint = f"{described}; {expected}" if described else expected
    return problem(_CODES.get(keyword, "invalid"), path, message, hint)


def _described(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description", ""))


def _listed(wanted: Any) -> str:
    if isinstance(wanted, list):
        return ", ".join(map(str, wanted))
    return str(wanted)


def _count(error: ValidationError) -> int:
    return len(error.instance) if hasattr(error.instance, "__len__") else 0


def _path(parts: Any) -> str:
    path = ""
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
    return path


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else str(name)
