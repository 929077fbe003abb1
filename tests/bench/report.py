"""What a row of the benchmark says, printed as a table and kept as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    row: str
    device: str
    what: str
    value: float
    unit: str
    note: str = ""

    @property
    def text(self) -> str:
        """The number as people read it."""
        return f"{number(self.value)} {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A goal and whether this run met it."""

    row: str
    device: str
    goal: str
    measured: str
    is_met: bool | None
    """None: not to be judged in this run, `measured` says why."""

    @property
    def text(self) -> str:
        """One word."""
        return {True: "met", False: "NOT MET", None: "not judged"}[self.is_met]


Line = Figure | Verdict


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if not math.isfinite(value):
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile; NaN of nothing."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one: a neighbour's burst moves a mean and not this."""
    return quantile(values, 0.5)


def at_least(
    row: str, device: str, goal: str, value: float, bound: float, *, unit: str = "/s"
) -> Verdict:
    """Met when the value reaches the bound; not judged when either was not measured."""
    return _judged(row, device, goal, value, bound, unit=unit, is_met=value >= bound)


def at_most(
    row: str, device: str, goal: str, value: float, bound: float, *, unit: str = "ms"
) -> Verdict:
    """Met when the value stays within the bound; not judged when either was not measured."""
    return _judged(row, device, goal, value, bound, unit=unit, is_met=value <= bound)


def _judged(
    row: str, device: str, goal: str, value: float, bound: float, *, unit: str, is_met: bool
) -> Verdict:
    known = math.isfinite(value) and math.isfinite(bound)
    ratio = f" ({value / bound:.2f} ×)" if known and bound else ""
    measured = f"{number(value)} against {number(bound)} {unit}{ratio}" if known else "no figure"
    return Verdict(
        row=row, device=device, goal=goal, measured=measured, is_met=is_met if known else None
    )


def say(text: str = "") -> None:
    """One line on standard output, at once: a row takes minutes."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_lines(lines: Iterable[Line]) -> None:
    """One line each, figures before what is made of them."""
    for line in lines:
        if isinstance(line, Figure):
            note = f"   {line.note}" if line.note else ""
            say(f"  {line.what:<58} {line.text:>16}{note}")
        else:
            say(f"  -> {line.goal}: {line.measured}: {line.text}")


def print_summary(lines: Iterable[Line]) -> None:
    """All goals once more, by row and device."""
    verdicts = [line for line in lines if isinstance(line, Verdict)]
    if not verdicts:
        return
    say("\nGoals")
    for verdict in verdicts:
        where = f"{verdict.row} · {verdict.device}"
        say(f"  {verdict.text:<10} {where:<28} {verdict.goal}: {verdict.measured}")
    met = sum(verdict.is_met is True for verdict in verdicts)
    missed = sum(verdict.is_met is False for verdict in verdicts)
    say(f"  {met} met, {missed} not met, {len(verdicts) - met - missed} not judged")


def write_json(path: Path, lines: Iterable[Line], facts: dict[str, Any]) -> None:
    """The whole run in one file; beside the figures what they were measured on."""
    kinds = {Figure: "figure", Verdict: "verdict"}
    rows = [{"kind": kinds[type(line)], **_plain(asdict(line))} for line in lines]
    document = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **machine(), **facts, "lines": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
