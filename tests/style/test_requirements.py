"""Every requirement of the render contract is named by the test that proves it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGES = range(38, 41)  # the web pages of the Library
DEPLOYMENT = (49,)
NAMED = {
    int(number)
    for path in TESTS.rglob("test_*.py")
    if path != Path(__file__)
    for number in re.findall(r"RND-(\d{3})", path.read_text("utf-8"))
}


@pytest.mark.parametrize("number", sorted(set(range(1, 50)) - set(PAGES) - set(DEPLOYMENT)))
def test_requirement_is_named_by_a_test(number: int) -> None:
    assert number in NAMED, f"no test names RND-{number:03}"
