"""In which order files go to the processes of a run: whatever is long begins early.

A file with tests that are marked `slow` mostly waits; others work meanwhile, so between two of
those stand two of the rest, the largest first. What is left at the end is short.
"""

from __future__ import annotations

from pathlib import Path

import pytest

AT_A_TIME = 2


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """The same tests; those of a file stay together, in their order."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    ordered = sorted(files.values(), key=len, reverse=True)
    slow = [file for file in ordered if any(item.get_closest_marker("slow") for item in file)]
    rest = [file for file in ordered if file not in slow]
    found: list[pytest.Item] = []
    while slow or rest:
        for file in slow[:1] + rest[:AT_A_TIME]:
            found += file
        slow, rest = slow[1:], rest[AT_A_TIME:]
    return found
