"""What a row is handed: a cluster on a device, the peers, and how much patience there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.cluster import Cluster
from tests.bench.drivers import Driver, Facts
from tests.bench.report import Figure, Line, median


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One pass over the rows on one device."""

    cluster: Cluster
    peers: Mapping[str, Driver]
    folder: Path
    """Where a row may keep what is slow to make."""
    is_quick: bool
    is_alone: bool
    """Whether nobody asked for peers."""
    rounds: int
    """How often contenders take turns; the median of each counts."""

    @property
    def device(self) -> str:
        """The name of the device."""
        return self.cluster.device.name

    @property
    def is_slow(self) -> bool:
        """Whether each flush takes its time."""
        return self.cluster.device.flush_ms > 0

    def scaled(self, full: int, quick: int) -> int:
        """A size for this run."""
        return quick if self.is_quick else full

    async def database(self, driver: Driver) -> str:
        """A fresh database with the driver's schema; returns its URL."""
        is_ours = driver.name == "Makeready"
        url = await self.cluster.fresh(driver.database, with_makeready=is_ours)
        if not is_ours:
            await driver.act(url, "install", tasks=4)
        return url

    async def fill(self, driver: Driver, url: str, **asked: Any) -> None:
        """Has the driver enqueue jobs, then vacuums: what is measured next starts tidy."""
        await driver.act(url, "fill", **asked)
        session = await self.cluster.connect(driver.database)
        try:
            await session.execute("vacuum analyze")
        finally:
            await session.close()

    def figure(self, row: str, what: str, value: float, unit: str, note: str = "") -> Figure:
        """A figure of this device."""
        return Figure(row=row, device=self.device, what=what, value=value, unit=unit, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table of goals."""

    name: str
    about: str
    measure: Callable[[Bench], Awaitable[Sequence[Line]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to work off a queue that holds so many jobs."""

    label: str
    driver: Driver
    jobs: int
    fill: Mapping[str, Any]
    drain: Mapping[str, Any]
    """The act and what it is asked."""
    note: str = ""


async def compete(bench: Bench, contenders: Sequence[Contender]) -> dict[str, float]:
    """Jobs a second of each contender, the median of rounds in which they take turns.

    Taking turns, a slow minute of the machine hits all of them. Raises when a contender left jobs
    behind: a rate of half the work would be no rate.
    """
    urls = {c.driver.name: await bench.database(c.driver) for c in contenders}
    rates: dict[str, list[float]] = {c.label: [] for c in contenders}
    for _ in range(bench.rounds):
        for contender in contenders:
            url = urls[contender.driver.name]
            await bench.fill(contender.driver, url, jobs=contender.jobs, **contender.fill)
            facts = await contender.driver.act(url, **contender.drain)
            _check(contender, facts)
            rates[contender.label].append(facts["jobs"] / facts["seconds"])
    return {label: median(found) for label, found in rates.items()}


def _check(contender: Contender, facts: Facts) -> None:
    if facts["jobs"] != contender.jobs or facts["left"]:
        raise RuntimeError(
            f"{contender.label} did {facts['jobs']} of {contender.jobs} jobs, {facts['left']} left"
        )
