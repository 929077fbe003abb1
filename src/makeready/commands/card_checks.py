"""What `doctor` says about table cards."""

from __future__ import annotations

import time
from typing import Any

from makeready import stamping
from makeready.cards import sample
from makeready.commands.checks import Finding, good

WHAT = "table cards"
MEND = "run `make setup`: PyMuPDF, zxing-cpp, fontTools and their like must be as they are pinned"


async def check_cards() -> list[Finding]:
    """Stamps and verifies a card in a stamping process; raises what keeps it from that."""
    table: dict[str, Any] = {**sample.tables(1)[0], "url": "https://example.com/t/1"}
    row = {"table": table, "restaurant": {"name": "«Ёлки»"}, "generation": {}, "row": {}}
    order = stamping.Order(pdf=sample.template(), settings=sample.settings(), rows=[row])
    version = await stamping.version()
    started = time.monotonic()
    await stamping.preview_pdf(order)
    ms = (time.monotonic() - started) * 1000
    return [good(WHAT, f"a card is stamped and verified in {ms:.0f} ms by {version}")]
