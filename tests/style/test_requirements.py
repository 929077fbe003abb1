"""Every requirement of the contracts is named, in full, at a test that proves it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
REQUIRED = {
    "RND": set(range(1, 50)) - {38, 39, 40, 49},  # without the Library's pages, and deployment
    "PSM": set(range(1, 46)) - {41, 42},  # without the pages of cards
    "ING": set(range(1, 86)) - {74, 81, 82},  # without metrics and alerts
}
NAME = re.compile(r"\b(RND|PSM|ING)-(\d{3})\b")
NAME_OF_TEST = re.compile(r"_(rnd|psm|ing)_(\d{3})(?![0-9])")
SHORTENED = re.compile(r"\b(?:RND|PSM|ING)-\d{3}(?:,? (?:to|and) |, ?|-)\d{3}\b")
FILES = {path: path.read_text("utf-8") for path in TESTS.rglob("test_*.py")}


def names() -> Iterator[str]:
    """What tests name: in their own names, docstrings and comments, not in those of files."""
    for text in FILES.values():
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if not node.name.startswith("test_"):
                    continue
                body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                found = NAME.findall(body) + NAME_OF_TEST.findall(node.name)
                yield from (f"{contract.upper()}-{number}" for contract, number in found)


NAMED = set(names())


@pytest.mark.parametrize(
    "name", [f"{kind}-{number:03}" for kind in REQUIRED for number in sorted(REQUIRED[kind])]
)
def test_requirement_is_named_by_a_test(name: str) -> None:
    assert name in NAMED, f"no test names {name}"


def test_no_name_is_shortened() -> None:
    found = [f"{path}: {text}" for path in FILES for text in SHORTENED.findall(FILES[path])]
    assert not found
