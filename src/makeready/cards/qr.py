"""QR symbols, and how they are encoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One symbol, without its quiet zone."""

    payload: str
    version: int
    level: str
    """L, M, Q or H, as it really is: a boost is counted in."""
    mask: int
    rows: tuple[int, ...]
    """One number a row of modules, the leftmost module its highest bit, 1 dark."""

    @property
    def size(self) -> int:
        """Modules a side."""
        return len(self.rows)
