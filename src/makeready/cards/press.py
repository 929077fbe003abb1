"""One generation in memory: template compiled, fonts cut, symbols encoded; cards on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from makeready.cards.drawing import Drawn
from makeready.cards.values import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that a generation is made of: equal orders make equal bytes."""

    pdf: bytes
    settings: Mapping[str, Any]
    """As JSON, of the schema of `settings`."""
    rows: Sequence[Row]
    assets: Mapping[str, bytes] = field(default_factory=dict)
    """Uploaded fonts and pictures by `sha256:…`."""


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
