"""Who changes photos: one module a wire format, behind the protocol of `base`."""

from __future__ import annotations

from collections.abc import Mapping

from makeready_workers.providers.base import Provider
from makeready_workers.providers.gemini import Gemini
from makeready_workers.providers.local import Local


def by_kind() -> Mapping[str, Provider]:
    """The program of each kind in `makeready.photo_kinds`."""
    return {"gemini": Gemini(), "local": Local()}
