"""Tables for a person at a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[\d.,]+( ?(%|ms|s|kB|MB|GB|/s))?")


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns with two spaces between; a column of numbers is set to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    rightward = [all(_NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, rightward, strict=True)
        ).rstrip()
        for row in (head, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(lines)
