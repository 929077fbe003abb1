"""Routes, error codes and log events are all in their reference pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from starlette.routing import Route

from makeready_http.app import routes
from makeready_http.problems import STATUS_OF

ROOT = Path(__file__).parents[2]
REFERENCES = ROOT / "docs" / "reference"
SOURCES = ("src", "http", "workers")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_every_route_is_in_the_http_reference() -> None:
    listed = (REFERENCES / "http.md").read_text("utf-8")
    assert {route for route in _served() if f"`{route}`" not in listed} == set()


def test_the_http_reference_lists_no_route_that_is_not_served() -> None:
    listed = (REFERENCES / "http.md").read_text("utf-8")
    routes_listed = set(re.findall(r"`((?:GET|POST|PUT|DELETE|PATCH) /[^`?]*)`", listed))
    assert routes_listed - _served() == set()


def test_the_http_reference_lists_every_error_of_a_route_under_its_status() -> None:
    rows = re.findall(
        r"^\| (\d{3}) \| (.*) \|$", (REFERENCES / "http.md").read_text("utf-8"), re.MULTILINE
    )
    listed = {
        code: int(status)
        for status, text in rows
        for code in re.findall(r"`(\w+)`", text)
        if code in STATUS_OF
    }
    named = {
        node.value
        for path in (ROOT / "http" / "makeready_http").glob("*.py")
        if path.name != "problems.py"  # it has the codes of queues to come as well
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in STATUS_OF
    }
    assert listed == {code: STATUS_OF[code] for code in listed}
    assert named - set(listed) == set()


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


def _served() -> set[str]:
    return {
        f"{method} {route.path}"
        for route in routes()
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


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
