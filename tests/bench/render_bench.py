"""The render rows alone: `python -m tests.bench.render_bench`, without a database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tests.bench.bench import Bench
from tests.bench.report import Figure, print_lines
from tests.bench.rows.render import measure

VAR = Path(__file__).resolve().parents[2] / "var" / "bench"


async def main() -> None:
    """Measures and prints."""
    VAR.mkdir(parents=True, exist_ok=True)
    stand_in = SimpleNamespace(
        device="disk",
        folder=VAR / "servers",
        is_quick=False,
        rounds=3,
        is_slow=False,
        scaled=lambda full, _quick: full,
        figure=lambda row, what, value, unit, note="": Figure(
            row=row, device="disk", what=what, value=value, unit=unit, note=note
        ),
    )
    print_lines(await measure(cast("Bench", stand_in)))


if __name__ == "__main__":
    asyncio.run(main())
