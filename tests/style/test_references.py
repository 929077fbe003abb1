"""Error codes are promised where they are used, log events are in their reference page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from makeready_http.app import OPERATIONS
from makeready_http.problems import STATUS_OF

ROOT = Path(__file__).parents[2]
REFERENCES = ROOT / "docs" / "reference"
SOURCES = ("src", "http", "workers")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_every_error_that_a_route_names_is_promised_by_an_operation() -> None:
    promised = {code for operation in OPERATIONS for code in operation.all_errors()}
    named = {
        node.value
        for path in (ROOT / "http" / "makeready_http").glob("*.py")
        if path.name not in {"problems.py", "operations.py"}
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in STATUS_OF
    }
    assert named - promised == set()


def test_every_log_event_is_in_the_event_reference() -> None:
    listed = set(
        re.findall(r"^\| `(\w+)` \|", (REFERENCES / "events.md").read_text("utf-8"), re.MULTILINE)
    )
    logged = {
        event
        for source in SOURCES
        for path in (ROOT / source).rglob("*.py")
        for event in _events(path)
    }
    assert (logged - listed, listed - logged) == (set(), set())


def _events(path: Path) -> Iterator[str]:
    """Event names: first arguments of `_log.info("…")` and its like, second ones of note_fault."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            place = _place_of_event(node.func)
            named = node.args[place] if place is not None and len(node.args) > place else None
            if (
                isinstance(named, ast.Constant)
                and isinstance(named.value, str)
                and re.fullmatch(r"[a-z][a-z0-9_]*", named.value)
            ):
                yield named.value


def _place_of_event(function: ast.expr) -> int | None:
    if isinstance(function, ast.Attribute):
        return 0 if function.attr in LEVELS else None
    if isinstance(function, ast.Name):
        return {"log": 0, "note_fault": 1}.get(function.id)
    return None
