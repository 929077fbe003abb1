"""`makeready rerun` of a generation makes its cards again, and leaves everything as it is."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from makeready import posm
from makeready.commands import rerun
from makeready.config import Settings
from tests.support.card_templates import settings_for
from tests.support.objectstore import S3
from tests.support.workshop import Workshop, opened


async def _rerun(settings: Settings, generation: UUID, folder: Path) -> int:
    options = argparse.Namespace(job=generation, out=folder, html=False)
    return await asyncio.to_thread(rerun.run, settings, options)


async def _rows(workshop: Workshop) -> list[str]:
    """Everything that a generation could change."""
    found = []
    for table in ("jobs", "attempts", "posm_generations", "posm_cards", "files"):
        rows = await workshop.db.fetch(f"select * from makeready.{table} t order by t::text")
        found += [f"{table} {tuple(row.values())}" for row in rows]
    return found


async def test_the_same_cards_come_out_byte_for_byte(
    db: asyncpg.Connection,
    settings: Settings,
    s3: S3,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert settings.s3_bucket == s3.bucket
    async with opened(db, settings) as workshop:
        claimed = await workshop.claimed(3)
        assert await workshop.attempt(claimed) == "ok"
        before = await _rows(workshop)
        assert await _rerun(settings, claimed.job.id, tmp_path) == 0
        assert await _rows(workshop) == before
        stored = {card.sha256 for card in await posm.cards(db, claimed.job.id)}
    made = {hashlib.sha256((tmp_path / f"{n}.pdf").read_bytes()).digest() for n in (1, 2, 3)}
    assert made == stored
    assert "3 cards, 3 as they were stored" in capsys.readouterr().out


async def test_what_is_wrong_is_told(
    db: asyncpg.Connection,
    settings: Settings,
    s3: S3,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert settings.s3_bucket == s3.bucket
    async with opened(db, settings) as workshop:
        refused = await workshop.ordered(1, settings=settings_for(quiet_zone=1))
        assert await _rerun(settings, refused, tmp_path) == 1
    assert "failed  qr_quiet_zone" in capsys.readouterr().out
    assert "qr_quiet_zone" in (tmp_path / "evidence.json").read_text("utf-8")
