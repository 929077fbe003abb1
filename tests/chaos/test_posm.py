"""Generations in mid-work while a worker, the database or object storage goes away: every table
gets its card, none of them twice. Real worker processes, a real store."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from makeready import posm
from makeready.config import Secret, Settings
from makeready.embedded.objectstore import EmbeddedObjectStore
from makeready.embedded.postgres import EmbeddedPostgres
from makeready.storage import Storage, open_storage
from tests.chaos.conftest import AWAY, Witness
from tests.support.generating import Cardroom
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess, worker_process
from tests.support.workshop import stored_template

GENERATIONS, TABLES = 4, 250
STORE_AWAY_S = 10.0
TIMEOUT_S = 120.0
CARDS = "select count(*) from makeready.posm_cards where stored_id is not null"
LEFT = "select count(*) from makeready.posm_generations where status in ('created', 'scheduled')"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedObjectStore]:
    running = EmbeddedObjectStore(tmp_path / "s3")
    running.start()
    yield running
    running.kill()


@pytest.fixture
def told(store: EmbeddedObjectStore, tmp_path: Path) -> dict[str, Any]:
    """What a worker is told besides the database."""
    return {
        "command": ("makeready", "work", "posm"),
        "log_level": "info",
        "data_dir": tmp_path / "var",
        "s3_endpoint": store.endpoint,
        "s3_bucket": store.bucket,
        "s3_access_key": store.access_key,
        "s3_secret_key": store.secret_key,
    }


@pytest.fixture
async def storage(store: EmbeddedObjectStore) -> AsyncIterator[Storage]:
    settings = Settings(
        s3_endpoint=store.endpoint,
        s3_bucket=store.bucket,
        s3_access_key=store.access_key,
        s3_secret_key=Secret(store.secret_key),
    )
    async with open_storage(settings) as opened:
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What each of these tests plays in."""

    dsn: str
    witness: Witness
    storage: Storage
    folder: Path
    told: dict[str, Any]

    def worker(self, name: str) -> AbstractAsyncContextManager[WorkerProcess]:
        """A real worker for the time of the block."""
        return worker_process(self.dsn, self.folder, name, **self.told)


@pytest.fixture
async def scene(
    dsn: str, witness: Witness, storage: Storage, told: dict[str, Any], tmp_path: Path
) -> Scene:
    await storage.ensure_bucket()
    return Scene(dsn=dsn, witness=witness, storage=storage, folder=tmp_path, told=told)


async def ask(dsn: str, storage: Storage) -> list[UUID]:
    """Generations of several restaurants, two at a time."""
    db = await asyncpg.connect(dsn)
    try:
        room = await Cardroom(db).open()
        template = await stored_template(db, storage)
        return [
            (await room.press(template, await room.restaurant(TABLES))).id
            for _ in range(GENERATIONS)
        ]
    finally:
        await db.close()


async def until_made(witness: Witness, count: int) -> None:
    """Waits until so many cards are entered; the database may be away meanwhile."""

    async def made() -> bool:
        try:
            return await witness.number(CARDS) >= count
        except AWAY:
            return False

    await until(made, timeout_s=TIMEOUT_S, what=f"{count} cards")


async def until_ended(witness: Witness) -> None:
    """Waits until no generation is active."""

    async def ended() -> bool:
        try:
            return await witness.number(LEFT) == 0
        except AWAY:
            return False

    await until(ended, timeout_s=TIMEOUT_S, what="the end of all generations")


async def assert_whole(dsn: str, storage: Storage, made: Sequence[UUID]) -> None:
    """Each generation is done, has one card a table, and the store has those and no others."""
    db = await asyncpg.connect(dsn)
    try:
        for generation in made:
            found = await posm.read(db, generation)
            assert (found.status, found.comment) == ("done", None)
            cards = await posm.manifest(db, generation)
            assert len({card.uuid for card in cards}) == len(cards) == TABLES
            listed = await storage.sizes(f"posm/{generation}/")
            assert listed == {card.key: card.byte_count for card in cards}
    finally:
        await db.close()


async def test_workers_that_are_killed_one_after_the_other_cost_no_card_psm_022_psm_025(
    scene: Scene,
) -> None:
    async with AsyncExitStack() as stack:
        made = await ask(scene.dsn, scene.storage)
        for number in range(3):
            worker = await stack.enter_async_context(scene.worker(f"victim-{number}"))
            await until_made(scene.witness, (number + 1) * 100)
            worker.send(signal.SIGKILL)
        await stack.enter_async_context(scene.worker("heir"))
        await until_ended(scene.witness)
    await assert_whole(scene.dsn, scene.storage, made)


async def test_a_database_that_restarts_in_the_middle_costs_no_card(
    scene: Scene, server: EmbeddedPostgres
) -> None:
    async with scene.worker("one"):
        made = await ask(scene.dsn, scene.storage)
        await until_made(scene.witness, 100)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await until_ended(scene.witness)
    await assert_whole(scene.dsn, scene.storage, made)
    # An outage is not the cards' fault.
    assert await scene.witness.number("select count(*) from makeready.jobs where attempt > 1") == 0


async def test_a_store_that_is_away_for_ten_seconds_costs_no_card(
    scene: Scene, store: EmbeddedObjectStore
) -> None:
    async with scene.worker("one") as worker:
        made = await ask(scene.dsn, scene.storage)
        await until_made(scene.witness, 100)
        await asyncio.to_thread(store.kill)
        await worker.until_event("storage_awaited", timeout_s=60)
        await asyncio.sleep(STORE_AWAY_S)  # the length of the outage is the point
        await asyncio.to_thread(store.start)
        await until_ended(scene.witness)
    await assert_whole(scene.dsn, scene.storage, made)
    # What was stamped is stored: nothing is stamped again.
    assert await scene.witness.number("select count(*) from makeready.attempts") == 0
