"""Where the time of a photo went, as `Server-Timing` (W3C) tells it to whoever asks.

- upload: from the head of the request to the last byte, written, hashed and looked at
- admit: the file's name, and the database's word
- claim: until a worker had it
- prepare: what the worker did before the provider was asked
- provider: from the first question to the image, with all that was tried again
- finalise: stored, written down, and told to the request that waits
- answer: until the first byte of the image was read
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

_SPANS = {"claim": "queue_ms", "prepare": "prepare_ms", "provider": "provider_ms"}


class Timing:
    """The clock of one request."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._parts: dict[str, float] = {}

    def mark(self, part: str) -> None:
        """This part ends now; it began where the one before has ended."""
        now = time.perf_counter()
        self._parts[part], self._last = (now - self._last) * 1000, now

    def waited(self, facts: Mapping[str, Any]) -> None:
        """The wait for the worker ends now: its own figures say what it was made of."""
        self.mark("finalise")
        for part, name in _SPANS.items():
            ms = facts.get(name)
            if isinstance(ms, int | float):
                self._parts[part] = float(ms)
                self._parts["finalise"] = max(0.0, self._parts["finalise"] - ms)

    @property
    def header(self) -> str:
        """In milliseconds."""
        return ", ".join(f"{part};dur={ms:.2f}" for part, ms in self._parts.items())
