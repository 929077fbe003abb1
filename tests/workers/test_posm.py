"""The handler of the queue `posm`: cards of all tables, how it fails, where it goes on.

Proves PSM-010, PSM-017, PSM-019 to PSM-023 and PSM-025 with the SQL of the slice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from makeready import posm, stamping
from makeready.config import Settings
from makeready_workers import posm_cards
from tests.support.objectstore import S3
from tests.support.workshop import Workshop, opened

TABLES = 7


@pytest.fixture
async def shop(
    db: asyncpg.Connection, settings: Settings, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Workshop]:
    assert settings.s3_bucket == s3.bucket
    monkeypatch.setattr(posm_cards, "CHUNK", 3)
    async with opened(db, settings) as made:
        yield made


async def test_every_table_gets_a_card_that_was_looked_at_psm_020_psm_021(shop: Workshop) -> None:
    claimed = await shop.claimed(TABLES)
    assert await shop.attempt(claimed) == "ok"

    generation = await posm.read(shop.db, claimed.job.id)
    assert (generation.status, generation.tables_done) == ("done", TABLES)
    assert generation.stamper == await stamping.version()
    cards = await posm.manifest(shop.db, generation.id)
    assert [card.label for card in cards] == [str(number) for number in range(1, TABLES + 1)]
    assert sorted(await shop.keys(generation.id)) == sorted(card.key for card in cards)
    for card in cards:
        digest = card.sha256.hex()
        assert card.key == f"posm/{generation.id}/{card.uuid}-{digest[:12]}.pdf"
        facts = await shop.storage.head(card.key)
        assert (facts.byte_count, facts.sha256) == (card.byte_count, card.sha256)
        assert card.evidence
        assert str(card.data["table"]["url"]) in str(card.evidence)  # what was decoded
