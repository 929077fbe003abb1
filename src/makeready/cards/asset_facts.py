"""What is known of an uploaded font or picture; the record alone, light enough for everybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFacts:
    """What was found in the bytes, whatever the file was called."""

    kind: Literal["font", "image"]
    name: str
    """As a font calls itself; empty for a picture."""
    media_type: str
    found: dict[str, Any] = field(default_factory=dict)
    """JSON, for people and editors."""
