"""Data of the hiring pack, bent: less than a document needs, more than it expects, other texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from makeready.documents.typesetting import DocumentType


def least(doc: DocumentType, data: Any) -> Any:
    """Only what the schema requires, at every depth."""
    return _least(doc.schema, doc.schema, data)


def reworded(doc: DocumentType, data: Any, word: Callable[[str, int], str], times: int = 1) -> Any:
    """Free texts are replaced by `word(text, limit)`, lists repeated as far as allowed."""
    return _reworded(doc.schema, doc.schema, data, word, times)


def without(doc: DocumentType, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The data, each time without one of its optional parts, or with an empty list in it."""
    found = []
    for name, part in doc.schema["properties"].items():
        if name in doc.schema["required"]:
            continue
        found.append({key: value for key, value in data.items() if key != name})
        schema = _resolved(doc.schema, part)
        if schema["type"] == "array" and not schema.get("minItems"):
            found.append({**data, name: []})
    return found


def _resolved(root: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _least(root: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> Any:
    schema = _resolved(root, schema)
    if isinstance(value, dict):
        parts, needed = schema["properties"], schema.get("required", ())
        return {
            key: _least(root, parts[key], each) for key, each in value.items() if key in needed
        }
    if isinstance(value, list):
        return [_least(root, schema["items"], each) for each in value]
    return value


def _reworded(
    root: Mapping[str, Any],
    schema: Mapping[str, Any],
    value: Any,
    word: Callable[[str, int], str],
    times: int,
) -> Any:
    schema = _resolved(root, schema)
    if isinstance(value, dict):
        parts = schema["properties"]
        return {key: _reworded(root, parts[key], each, word, times) for key, each in value.items()}
    if isinstance(value, list):
        entries = [_reworded(root, schema["items"], each, word, times) for each in value]
        return (entries * times)[: schema.get("maxItems")]
    if isinstance(value, str) and not {"enum", "pattern", "format"} & schema.keys():
        return word(value, schema["maxLength"])
    return value
