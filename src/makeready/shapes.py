"""What can be wrong with a value of JSON: the checks that `validation` puts together.

Each is a function of value, path and findings. Time matters here: a list that is too long is not
looked into, a text that is too long is not matched, of a wrong value no more is read than is told,
and the search ends with its 100th problem.
"""

from __future__ import annotations

import contextlib
import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any

MAX_PROBLEMS = 100
SHOWN = 60  # characters of a wrong value, and of a name, that are told

Path = tuple[Any, ...]
"""(the path above, the last step); empty for the whole value."""
Check = Callable[[Any, Path, "Findings"], None]

_MUCH = {"Items": "many", "Length": "long"}
_LITTLE = {"Items": "few", "Length": "short"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
CLASSES: dict[str, set[type]] = {
    "array": {list},
    "boolean": {bool},
    "integer": {int},
    "null": {type(None)},
    "number": {int, float},
    "object": {dict},
    "string": {str},
}
_LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}


class Enough(Exception):
    """The search may end."""


class Findings:
    """Problems as they are found."""

    def __init__(self, most: int = MAX_PROBLEMS) -> None:
        self.problems: list[dict[str, str]] = []
        self._most = most

    def add(self, code: str, path: Path, message: str, hint: str = "") -> None:
        """Notes a problem; raises Enough when it was the last one wanted."""
        self.take(problem(code, path_text(path), message, hint))

    def take(self, found: dict[str, str]) -> None:
        """As `add`, for a problem that is made already."""
        self.problems.append(found)
        if len(self.problems) >= self._most:
            raise Enough


def problem(code: str, path: str, message: str, hint: str) -> dict[str, str]:
    """One problem in the shape of the error contract."""
    return {"code": code, "path": path, "message": message, "hint": hint}


def shown(value: Any) -> str:
    """The beginning of a value as JSON; no more of it is read."""
    if isinstance(value, str):
        value = value[: SHOWN + 1]
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
        text += piece[: SHOWN + 1]
        if len(text) > SHOWN:
            return text[:SHOWN] + "…"
    return text


def cut(name: str) -> str:
    """A name that came from outside, short enough to be told."""
    return name if len(name) <= SHOWN else name[:SHOWN] + "…"


def path_text(path: Path) -> str:
    """Such as `lines[2].price`."""
    steps = []
    while path:
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{cut(step)}")
    return "".join(reversed(steps)).removeprefix(".")


def problems_of(
    check: Check, value: Any, path: Path = (), most: int = MAX_PROBLEMS
) -> list[dict[str, str]]:
    """What a check finds, at most so many problems."""
    findings = Findings(most)
    with contextlib.suppress(Enough):
        check(value, path, findings)
    return findings.problems


def all_of(checks: Iterable[Check]) -> Check:
    """One check after the other."""
    every = tuple(checks)
    if len(every) == 1:
        return every[0]

    def check(value: Any, path: Path, findings: Findings) -> None:
        for each in every:
            each(value, path, findings)

    return check


def names_of(schema: Mapping[str, Any]) -> list[str]:
    """The types that a schema allows."""
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def classes_of(schema: Mapping[str, Any]) -> frozenset[type]:
    """The same as classes of Python."""
    return frozenset[type]().union(*(CLASSES[name] for name in names_of(schema)))


def typed(schema: Mapping[str, Any], rest: Check) -> Check:
    """The rest is only asked about a value of the right type."""
    names, classes = names_of(schema), classes_of(schema)
    is_integer = "integer" in names
    hint = _expected(schema, "type")

    def check(value: Any, path: Path, findings: Findings) -> None:
        if type(value) in classes or (
            is_integer and isinstance(value, float) and value.is_integer()
        ):
            rest(value, path, findings)
        else:
            text = f"{shown(value)} is not of type {', '.join(names)}"
            findings.add("wrong_type", path, text, hint)

    return check


def scalar(schema: Mapping[str, Any]) -> Check:
    """What is asked of texts and numbers; nothing of other values."""
    checks: list[Check] = []
    if "string" in schema["type"]:
        checks.append(_text(schema))
    checks += [_limit(schema, keyword) for keyword in _LIMITS if keyword in schema]
    return all_of(checks)


def _text(schema: Mapping[str, Any]) -> Check:
    is_sized = sized(schema, "Length", "characters")
    forms: dict[str, Callable[[str], object]] = {}
    if "pattern" in schema:
        # To Python, but not to JSON Schema, `$` is also the place before a last line break.
        forms["pattern"] = re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", schema["pattern"])).search
    if "format" in schema:
        forms["format"] = _FORMATS[schema["format"]]

    def check(value: Any, path: Path, findings: Findings) -> None:
        if not isinstance(value, str) or not is_sized(value, path, findings):
            return
        odd = _UNPRINTABLE.search(value)
        if odd:
            text = f"U+{ord(odd[0]):04X} at place {odd.start() + 1} cannot be printed"
            findings.add("bad_character", path, text, "leave control characters out")
            return
        for keyword, fits in forms.items():
            if not fits(value):
                text = f"{shown(value)} does not fit {keyword}"
                findings.add("bad_format", path, text, _expected(schema, keyword))

    return check


def _limit(schema: Mapping[str, Any], keyword: str) -> Check:
    wanted, fits = schema[keyword], _LIMITS[keyword]
    hint = _expected(schema, keyword)

    def check(value: Any, path: Path, findings: Findings) -> None:
        if type(value) in CLASSES["number"] and not fits(value, wanted):
            findings.add("out_of_range", path, f"{shown(value)} does not fit {keyword}", hint)

    return check


def sized(
    schema: Mapping[str, Any], word: str, things: str
) -> Callable[[Any, Path, Findings], bool]:
    """Finds what has too many or too few entries; False: do not look into it."""
    least, most = schema.get(f"min{word}", 0), schema.get(f"max{word}", math.inf)

    def check(value: Any, path: Path, findings: Findings) -> bool:
        count = len(value)
        if count > most:
            hint = _expected(schema, f"max{word}")
            findings.add(f"too_{_MUCH[word]}", path, f"{count} {things} are too many", hint)
            return False
        if count < least:
            hint = _expected(schema, f"min{word}")
            findings.add(f"too_{_LITTLE[word]}", path, f"{count} {things} are too few", hint)
        return True

    return check


def one_of(schema: Mapping[str, Any], allowed: list[Any]) -> Check:
    """`enum` and `const`."""
    hint = _expected(schema, "enum" if "enum" in schema else "const")

    def check(value: Any, path: Path, findings: Findings) -> None:
        # In Python True is 1, in JSON it is not.
        if not any(
            value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed
        ):
            text = f"{shown(value)} is not one of the allowed values"
            findings.add("not_allowed", path, text, hint)

    return check


def required(schema: Mapping[str, Any]) -> Check:
    """The fields that may not be missing."""
    fields = schema.get("properties", {})
    hints = {name: _described(fields.get(name)) for name in schema["required"]}

    def check(value: Any, path: Path, findings: Findings) -> None:
        if isinstance(value, dict):
            for name, hint in hints.items():
                if name not in value:
                    findings.add("missing_field", (path, name), f"{name} is missing", hint)

    return check


def _described(schema: Any) -> str:
    return str(schema.get("description", "")) if isinstance(schema, Mapping) else ""


def _expected(schema: Mapping[str, Any], keyword: str) -> str:
    wanted, described = schema[keyword], _described(schema)
    text = ", ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
    expected = f"expected {keyword}: {text}"
    return f"{described.rstrip('.')}; {expected}" if described else expected


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _is_date_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _is_uuid(text: str) -> bool:
    return bool(_UUID.fullmatch(text))


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "email": lambda text: "@" in text,
    "uuid": _is_uuid,
}
