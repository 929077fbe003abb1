"""JSON Schema with answers for people: all problems at once, each with its place and a hint.

A schema is compiled into functions, since a value of 4 MB, well meant or hostile, has to be
judged within a second. Known is the part of draft 2020-12 that document types use: any other
keyword is an error when a type is loaded, never ignored.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from makeready.shapes import (
    Check,
    Findings,
    Path,
    all_of,
    classes_of,
    cut,
    names_of,
    one_of,
    problems_of,
    required,
    scalar,
    shown,
    sized,
    typed,
)

_NOTES = frozenset({"$schema", "$defs", "title", "description", "default", "examples"})
_WITH = {  # keywords that are read together with another one
    "type": {"minLength", "maxLength", "pattern", "format"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "items": {"minItems", "maxItems"},
    "properties": {"additionalProperties", "required"},
    "required": set[str](),
    "if": {"then"},
}


def find_problems(schema: Mapping[str, Any], instance: Any) -> list[dict[str, str]]:
    """All problems of `instance`, by path, but at most `shapes.MAX_PROBLEMS`; none when it fits.

    A problem is {code, path, message, hint}; a path such as `lines[2].price`, empty for the whole.
    The time is that of reading the instance once, whatever it holds. Raises ValueError for a
    schema with a keyword that is not known here.
    """
    found = problems_of(_check(json.dumps(schema)), instance)
    return sorted(found, key=lambda problem: problem["path"])


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises jsonschema's SchemaError when the schema is wrong, ValueError when unsupported."""
    Draft202012Validator.check_schema(schema)
    _check(json.dumps(schema))


@functools.lru_cache(maxsize=64)
def _check(schema: str) -> Check:
    found = json.loads(schema)
    return _Compiler(found).check(found)


class _Compiler:
    """One schema with its `$defs`."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[str, list[Check]] = {}

    def check(self, schema: Any) -> Check:
        """The check of a part of the schema."""
        if schema is True:
            return all_of([])
        makers: dict[str, Callable[[Mapping[str, Any]], Check]] = {
            "$ref": lambda part: self._reference(part["$ref"]),
            "type": scalar,
            "enum": lambda part: one_of(part, part["enum"]),
            "const": lambda part: one_of(part, [part["const"]]),
            "required": required,
            "properties": self._object,
            "items": self._list,
            "allOf": lambda part: all_of([self.check(each) for each in part["allOf"]]),
            "if": self._if,
            "anyOf": self._any,
        }
        keywords = [keyword for keyword in makers if keyword in schema]
        if not isinstance(schema.get("additionalProperties", True), bool):
            raise ValueError("additionalProperties is true or false")  # noqa: TRY004
        left = set(schema) - _NOTES - set(keywords)
        left -= {word for keyword in keywords for word in _WITH.get(keyword, ())}
        if left:
            raise ValueError(f"unsupported in a schema: {', '.join(sorted(left))}")
        every = all_of([makers[keyword](schema) for keyword in keywords])
        return typed(schema, every) if "type" in schema else every

    def _reference(self, address: str) -> Check:
        if address not in self._known:
            target: Any = self._root
            for step in address.removeprefix("#/").split("/"):
                target = target[step]
            self._known[address] = []  # found by a definition that refers to itself
            self._known[address].append(self.check(target))
        found = self._known[address]

        def check(value: Any, path: Path, findings: Findings) -> None:
            found[0](value, path, findings)

        return check

    def _list(self, schema: Mapping[str, Any]) -> Check:
        entry = self.check(schema["items"])
        is_sized = sized(schema, "Items", "entries")

        def check(value: Any, path: Path, findings: Findings) -> None:
            if isinstance(value, list) and is_sized(value, path, findings):
                for place, each in enumerate(value):
                    entry(each, (path, place), findings)

        return check

    def _object(self, schema: Mapping[str, Any]) -> Check:
        fields = {name: self.check(part) for name, part in schema["properties"].items()}
        is_closed = not schema.get("additionalProperties", True)
        hint = f"known fields: {', '.join(sorted(fields))}"

        def check(value: Any, path: Path, findings: Findings) -> None:
            if not isinstance(value, dict):
                return
            for name, field in fields.items():
                if name in value:
                    field(value[name], (path, name), findings)
            if is_closed and not value.keys() <= fields.keys():
                for name in value:
                    if name not in fields:
                        text = f"{cut(name)} is not a field here"
                        findings.add("unknown_field", (path, name), text, hint)

        return check

    def _if(self, schema: Mapping[str, Any]) -> Check:
        condition, consequence = self.check(schema["if"]), self.check(schema["then"])

        def check(value: Any, path: Path, findings: Findings) -> None:
            if not problems_of(condition, value, path, 1):
                consequence(value, path, findings)

        return check

    def _any(self, schema: Mapping[str, Any]) -> Check:
        """Alternatives of different types: that of the value says what is wrong with it."""
        by_class: dict[type, Check] = {}
        for part in schema["anyOf"]:
            for each in classes_of(part):
                if each in by_class:
                    raise ValueError("anyOf wants alternatives that differ in their type")
                by_class[each] = self.check(part)
        wanted = ", ".join(name for part in schema["anyOf"] for name in names_of(part))
        hint = f"expected type: {wanted}"

        def check(value: Any, path: Path, findings: Findings) -> None:
            is_whole = isinstance(value, float) and value.is_integer()  # an integer to JSON
            chosen = by_class.get(type(value)) or (by_class.get(int) if is_whole else None)
            if chosen is None:
                text = f"{shown(value)} is not of type {wanted}"
                findings.add("wrong_type", path, text, hint)
            else:
                chosen(value, path, findings)

        return check
