"""What files of codes there are, and how they can look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from makeready.cards.modules import QUIET_ZONE

MEDIA_TYPES: Mapping[str, str] = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "pdf": "application/pdf",
    "eps": "application/postscript",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a file shows a code."""

    size_mm: float = 40
    """Of a side, quiet zone included."""
    quiet_zone: int = QUIET_ZONE
    """Modules."""
    dpi: int = 600
    """Of a PNG, about: its modules are whole pixels."""
