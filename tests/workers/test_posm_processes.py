"""Real worker processes: one that is killed in the middle of a generation costs no card."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from makeready import posm
from makeready.config import Settings
from makeready.storage import open_storage
from tests.support.generating import Cardroom
from tests.support.objectstore import S3
from tests.support.waiting import until
from tests.support.worker_process import worker_process
from tests.support.workshop import stored_template

TABLES = 240
COMMAND = ("makeready", "work", "posm")

QUIET = """
    select not exists (select from pg_stat_activity where datname = current_database()
                         and pid <> pg_backend_pid() and state = 'active')
"""

pytestmark = pytest.mark.timeout(180)


def environment(s3: S3, folder: Path) -> dict[str, Any]:
    """What a worker is told besides the database."""
    return {
        "command": COMMAND,
        "log_level": "info",
        "data_dir": folder / "var",
        "s3_endpoint": s3.endpoint,
        "s3_bucket": s3.bucket,
        "s3_access_key": s3.access_key,
        "s3_secret_key": s3.secret_key,
    }


def children(pid: int) -> set[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for each in found for child in each.read_text().split()}


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet buried does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
async def test_kill_9_in_the_middle_leaves_no_hole_and_repeats_no_card_psm_019_psm_022_psm_025(
    db: asyncpg.Connection, dsn: str, settings: Settings, s3: S3, tmp_path: Path
) -> None:
    room = await Cardroom(db).open()
    other = await asyncpg.connect(dsn)
    told = environment(s3, tmp_path)
    async with open_storage(settings) as storage:
        template = await stored_template(db, storage)
        async with worker_process(dsn, tmp_path, "victim", **told) as victim:
            generation = (await room.press(template, await room.restaurant(TABLES))).id
            done = "select tables_done > 0 from makeready.posm_generations where id = $1"
            await until(lambda: db.fetchval(done, generation), timeout_s=60, what="a first chunk")
            # From here on it can enter no more: it is killed in the middle, however fast it is.
            await other.execute("begin")
            await other.execute(
                "select from makeready.posm_generations where id = $1 for update", generation
            )
            helpers = children(victim.pid)
            assert helpers
            victim.send(signal.SIGKILL)
            assert await victim.ended() == -signal.SIGKILL
            await until(lambda: not any(map(is_there, helpers)), timeout_s=30, what="their end")
        await other.execute("rollback")
        await until(lambda: db.fetchval(QUIET), what="the end of what it had sent")
        before = {card.uuid: card for card in await posm.cards(db, generation) if card.made_at}
        stamper = (await posm.read(db, generation)).stamper
        assert 0 < len(before) < TABLES

        async with worker_process(dsn, tmp_path, "heir", **told) as heir:
            await heir.until_event("job_done", timeout_s=90)

        found = await posm.read(db, generation)
        assert (found.status, found.tables_done, found.stamper) == ("done", TABLES, stamper)
        cards = await posm.manifest(db, generation)
        assert len({card.uuid for card in cards}) == len(cards) == TABLES
        listed = await storage.sizes(f"posm/{generation}/")
        assert listed == {card.key: card.byte_count for card in cards}
        after = {card.uuid: card for card in await posm.cards(db, generation)}
        assert {uuid: after[uuid] for uuid in before} == before
        (opened,) = [line for line in heir.log() if line["event"] == "posm_opened"]
        assert opened["todo"] == TABLES - len(before)
        assert opened["forgotten"] == 0
        await storage.delete([facts.key async for facts in storage.listing()])
    await other.close()


@pytest.mark.slow
async def test_a_worker_that_is_stopped_gives_its_generation_back_and_ends(
    db: asyncpg.Connection, dsn: str, settings: Settings, s3: S3, tmp_path: Path
) -> None:
    room = await Cardroom(db).open()
    told = environment(s3, tmp_path) | {"drain_grace_s": 0.0}
    async with open_storage(settings) as storage:
        template = await stored_template(db, storage)
        async with worker_process(dsn, tmp_path, "leaver", **told) as leaver:
            generation = (await room.press(template, await room.restaurant(2 * TABLES))).id
            await leaver.until_event("posm_progress", timeout_s=60)
            leaver.send(signal.SIGTERM)
            assert await leaver.ended(timeout_s=60) == 0
        found = await posm.read(db, generation)
        assert (found.status, found.attempts) in {("scheduled", 0), ("done", 1)}
        await storage.delete([facts.key async for facts in storage.listing()])
