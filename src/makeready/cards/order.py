"""What is ordered: a template, settings, and the tables' data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
