"""How a setting of a process is declared: its default, its reader, what it is for, its names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PREFIX = "MAKEREADY_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """How one setting is read; `docs/configuration.md` and `deploy/env.example` list them."""

    field: str
    parse: Callable[[str], Any]
    aliases: tuple[str, ...]
    about: str

    @property
    def name(self) -> str:
        """The canonical name of the environment variable."""
        return PREFIX + self.field.upper()


def setting(default: Any, parse: Callable[[str], Any], about: str, *aliases: str) -> Any:
    """A field of Settings; a default that can be called is made anew each time."""
    metadata = {"parse": parse, "about": about, "aliases": aliases}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
