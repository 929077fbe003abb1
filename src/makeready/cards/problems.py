"""What is wrong with a template, settings or data: one record a problem, all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from makeready.errors import MakereadyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding; its texts are made from `code` and `facts` by `wording`."""

    code: str
    """Of the table in docs/table-cards.md, such as `field_outside_page`."""
    path: str = ""
    """Where in the settings, such as `fields[0].width`; empty: the template itself."""
    is_error: bool = True
    """False: a warning, which stops nothing."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and names for the texts; JSON values only."""
    tables: tuple[str, ...] = ()
    """Labels of the tables it is about, none: of all."""


class CardsRefused(MakereadyError):
    """The template, its settings or the tables' data cannot be printed."""

    code = "validation_failed"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)
