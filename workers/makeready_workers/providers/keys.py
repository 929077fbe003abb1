"""The keys of a provider: which one is next, and how long one rests that was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from makeready.ingest import SealedKey, Step
from makeready_workers.providers.base import ProviderFailed

PAUSE_S = 3.0
QUOTA_RESTS_S = 60.0
REFUSED_RESTS_S = 600.0


class Keys:
    """The keys of a provider for one photo, each with the time from which it may be used."""

    def __init__(self, keys: Sequence[SealedKey]) -> None:
        self._ready = [(key, _now() + key.rests_s) for key in keys]

    def next(self) -> tuple[SealedKey | None, float]:
        """The one that is ready first, and in how many seconds; None where there are no keys."""
        if not self._ready:
            return None, 0.0
        key, at = min(self._ready, key=lambda each: each[1])
        return key, max(0.0, at - _now())

    def rest(self, key: SealedKey, seconds: float) -> None:
        """Leaves a key alone for so long."""
        others = [each for each in self._ready if each[0].id != key.id]
        self._ready = [*others, (key, _now() + seconds)]


def pause_after(error: ProviderFailed, step: Step) -> float:
    """Seconds that it asks for, else those of its options."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    return float(step.options.get("retry_pause_s", PAUSE_S))


def rest_after(error: ProviderFailed, step: Step) -> float:
    """For how long nobody uses a key: a moment when it was only asked too often."""
    if error.may_retry or error.retry_after_s is not None:
        return pause_after(error, step)
    return QUOTA_RESTS_S if error.reason == "quota" else REFUSED_RESTS_S


def _now() -> float:
    return asyncio.get_running_loop().time()
