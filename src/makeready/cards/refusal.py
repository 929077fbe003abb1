"""Why a card that was made must not be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from makeready.cards.problems import CardsRefused, Problem


class CardRefused(CardsRefused):
    """A stamped card is not what it must be; it is kept nowhere."""

    def __init__(self, code: str, facts: Mapping[str, Any] | None = None, table: str = "") -> None:
        tables = (table,) if table else ()
        self.problem = Problem(code=code, facts=dict(facts or {}), tables=tables)
        super().__init__([self.problem])

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.problem.facts.items())
        return f"{self.problem.code} ({facts}), table {self.table or 'unknown'}"

    @property
    def table(self) -> str:
        """What people call the table; empty as long as that is not known."""
        return "".join(self.problem.tables)

    def of(self, table: str) -> CardRefused:
        """The same, with the table it is about."""
        return CardRefused(self.problem.code, self.problem.facts, table)
