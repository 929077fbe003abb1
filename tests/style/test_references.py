"""Routes, error codes and log events are all in their reference pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from starlette.routing import Route

from makeready_http.app import routes

ROOT = Path(__file__).parents[2]
REFERENCES = ROOT / "docs" / "reference"
SOURCES = ("src", "http", "workers")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_every_route_is_in_the_http_reference() -> None:
    listed = (REFERENCES / "http.md").read_text("utf-8")
    served = {
        f"{method} {route.path}"
        for route in routes()
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {route for route in served if f"`{route}`" not in listed} == set()


def test_the_http_reference_lists_no_route_that_is_not_served() -> None:
    listed = (REFERENCES / "http.md").read_text("utf-8")
    served = {route.path for route in routes() if isinstance(route, Route)}
    assert set(re.findall(r"`(?:GET|POST|PUT|DELETE|PATCH) (/[^`?]*)`", listed)) - served == set()


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
    """First arguments of `_log.info("…")` and its like."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Call)
            and _logs(node.func)
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
            and re.fullmatch(r"[a-z][a-z0-9_]*", node.args[0].value)
        ):
            yield node.args[0].value


def _logs(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in LEVELS
    return isinstance(function, ast.Name) and function.id in {"log", "_note"}
