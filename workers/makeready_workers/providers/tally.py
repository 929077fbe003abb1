"""What asking providers has come to: for the log of the photo and for the counters by provider."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from makeready.ingest import Step
from makeready_workers.providers.base import ProviderFailed

NOTE_LENGTH = 300
NOTES_MOST = 12
FREE = ("cost", "provider_reference")  # notes that have a place of their own


@dataclass(slots=True, kw_only=True)
class Asked:
    """One try."""

    provider: str
    operation: str
    price: float
    notes: dict[str, Any]
    started: float
    ms: float | None = None
    outcome: str = "open"
    """ok, the reason of a failure, or cut_off."""
    error: str | None = None

    def succeeded(self) -> None:
        """It brought an image."""
        self._ended("ok")

    def failed(self, error: ProviderFailed) -> None:
        """It brought none."""
        self.error = str(error)
        self._ended(error.reason)

    def cut_off(self) -> None:
        """Nobody wanted to know any more."""
        self._ended("cut_off")

    @property
    def cost(self) -> float:
        """As the provider said, else the price of a call that brought an image."""
        said = self.notes.get("cost")
        if isinstance(said, int | float) and not isinstance(said, bool) and said >= 0:
            return float(said)
        return self.price if self.outcome == "ok" else 0.0

    def _ended(self, outcome: str) -> None:
        self.outcome = outcome
        self.ms = (_now() - self.started) * 1000


class Tally:
    """All tries for one photo, and where its time went; made when the photo was claimed."""

    def __init__(self) -> None:
        self._tries: list[Asked] = []
        self._began = _now()
        self._spans: dict[str, float] = {}

    def begun(self, step: Step, notes: dict[str, Any]) -> Asked:
        """A try begins; the driver writes into `notes` as it learns."""
        asked = Asked(
            provider=step.provider,
            operation=step.operation,
            price=float(step.options.get("price", 0)),
            notes=notes,
            started=_now(),
        )
        self._tries.append(asked)
        return asked

    def stored(self, *, queued_s: float) -> None:
        """The image is stored: from here on only its end has to be written."""
        asked = brought = self._began  # of an echo nobody is asked
        if self._tries:
            asked, last = self._tries[0].started, self._tries[-1]
            brought = last.started + (last.ms or 0) / 1000
        self._spans = {
            "queue_ms": queued_s * 1000,
            "prepare_ms": (asked - self._began) * 1000,
            "provider_ms": (brought - asked) * 1000,
            "store_ms": (_now() - brought) * 1000,
        }

    def facts(self, step: Step | None = None) -> dict[str, Any]:
        """For the end of the photo; `step`: whose image it is."""
        last = self._tries[-1] if self._tries else None
        spans = {name: round(ms, 2) for name, ms in self._spans.items()}
        found: dict[str, Any] = {"attempts": len(self._tries), **spans}
        if step is not None:
            found |= {"provider": step.provider, "operation": step.operation}
        elif last is not None:
            found |= {"provider": last.provider, "operation": last.operation}
        if last is not None and (step is None or last.provider == step.provider):
            notes = {name: each for name, each in last.notes.items() if name not in FREE}
            found = {name: _short(each) for name, each in _first(notes)} | found
            found["provider_latency_ms"] = round(last.ms or (_now() - last.started) * 1000)
            found["reference"] = _short(last.notes.get("provider_reference"))
        found["cost"] = round(sum(each.cost for each in self._tries), 6)
        found["calls"] = self.calls()
        return found

    def calls(self) -> list[dict[str, Any]]:
        """By provider: how often it was asked, how often in vain, how long it took, the cost."""
        found: dict[str, dict[str, Any]] = {}
        for each in self._tries:
            sums = found.setdefault(
                each.provider,
                {"provider": each.provider, "calls": 0, "failures": 0, "ms": 0, "cost": 0.0},
            )
            sums["calls"] += 1
            sums["failures"] += each.outcome not in ("ok", "cut_off")
            sums["ms"] += round(each.ms or 0)
            sums["cost"] = round(sums["cost"] + each.cost, 6)
        return list(found.values())


def _first(notes: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(notes.items())[:NOTES_MOST]


def _short(value: Any) -> Any:
    """A scalar, short enough for a log."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:NOTE_LENGTH]


def _now() -> float:
    return asyncio.get_running_loop().time()
