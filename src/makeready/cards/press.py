"""One generation in memory: template compiled, fonts cut, symbols encoded; cards on demand."""

from __future__ import annotations

from dataclasses import dataclass

from makeready.cards.drawing import Drawn
from makeready.cards.order import Order

__all__ = ["Card", "Order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One stamped card: what follows the prefix that all cards of the generation share."""

    index: int
    tail: bytes
    byte_count: int
    """Of the whole file, and so are the checksums."""
    crc32: int
    sha256: bytes
    drawn: Drawn
