"""The value language: literals and `{path|filter:argument}`; no code is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Row: TypeAlias = Mapping[str, Mapping[str, str | int | None]]
"""One card's data: {"table": {…}, "restaurant": {…}, "generation": {…}, "row": {…}}."""
