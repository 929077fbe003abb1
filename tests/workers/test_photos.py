"""Photos in work: the way of one through the workers of a process, and every end it may have."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from makeready.config import Settings
from tests.support.photo_lab import photo_lab, picture


async def test_echo_gives_the_very_bytes_back(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    content = picture()
    async with photo_lab(db, settings, tmp_path) as lab:
        row = await lab.processed(content)
        assert lab.result(row) == content
        assert row["failure_reason"] is None
        assert row["result_path"] == f"results/{row['id']}.jpg"
        assert lab.ended == [row["id"]]
