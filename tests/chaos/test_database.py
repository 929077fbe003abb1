"""The database is stopped, killed and cut off while workers are in mid-work."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from makeready.embedded.postgres import EmbeddedPostgres
from tests.chaos.conftest import AWAY, Witness, limit_watched
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess, worker_process

pytestmark = pytest.mark.timeout(120)


async def _until_busy(witness: Witness, count: int) -> None:
    async def busy() -> bool:
        statement = (
            "select count(*) from makeready.jobs j"
            " join makeready.drill_starts s on s.token = j.lease"
        )
        return await witness.number(statement) >= count

    await until(busy)


async def _nothing_was_counted(witness: Witness) -> None:
    assert await witness.number("select coalesce(sum(lost), 0)::int from makeready.jobs") == 0
    assert await witness.number("select max(attempt) from makeready.jobs") == 1


async def test_an_outage_of_fifteen_seconds_kills_no_work_and_repeats_none(
    server: EmbeddedPostgres, dsn: str, witness: Witness, tmp_path: Path
) -> None:
    """H2: restart of PostgreSQL."""
    async with (
        worker_process(dsn, tmp_path, "one") as one,
        worker_process(dsn, tmp_path, "two") as two,
    ):
        await witness.enqueue(4, do="sleep", seconds=5)  # ends while the database is away
        await witness.enqueue(4, do="sleep", seconds=25)  # ends after it has come back
        await witness.enqueue(8, do="sleep", seconds=0.1)
        await _until_busy(witness, 8)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(15)
        await asyncio.to_thread(server.start)
        back = time.monotonic()
        await witness.until_all_ended(timeout_s=40)
        assert time.monotonic() - back < 20
        assert one.is_alive
        assert two.is_alive
        assert "job_lost" not in one.events() + two.events()

        assert await witness.done_once() == 16
        await _nothing_was_counted(witness)
        assert await witness.number("select count(*) from makeready.drill_starts") == 16


async def test_a_crash_of_the_server_loses_no_committed_job_and_repeats_no_finished_one(
    server: EmbeddedPostgres, dsn: str, witness: Witness, tmp_path: Path
) -> None:
    """H1 and H2: crash recovery, restart after each of three kills."""
    async with (
        worker_process(dsn, tmp_path, "one") as one,
        worker_process(dsn, tmp_path, "two") as two,
    ):
        for _ in range(3):
            await witness.enqueue(40, do="sleep", seconds=0.2)
            await _until_busy(witness, 8)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await until(lambda: _answers(witness), timeout_s=20)
        await witness.until_all_ended(timeout_s=60)
        assert one.is_alive
        assert two.is_alive

    assert await witness.done_once() == 120


async def _answers(witness: Witness) -> bool:
    try:
        return await witness.value("select true") is True
    except AWAY:
        return False


async def test_backends_that_are_killed_all_the_time_stop_nobody(
    dsn: str, witness: Witness, tmp_path: Path
) -> None:
    """H3: killed backends."""
    async with (
        worker_process(dsn, tmp_path, "one") as one,
        worker_process(dsn, tmp_path, "two") as two,
    ):
        await witness.enqueue(200, do="sleep", seconds=0.2)
        until_s = time.monotonic() + 10
        while time.monotonic() < until_s:
            await witness.value(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.25)
        await witness.until_all_ended(timeout_s=40)
        assert one.is_alive
        assert two.is_alive

    assert await witness.done_once() == 200
    await _nothing_was_counted(witness)


async def test_a_frozen_server_is_waited_for(
    server: EmbeddedPostgres, dsn: str, witness: Witness, tmp_path: Path
) -> None:
    async with worker_process(dsn, tmp_path, "one") as one:
        await witness.enqueue(8, do="sleep", seconds=2)
        await _until_busy(witness, 4)
        pids = await _server_processes(server)
        _send(pids, signal.SIGSTOP)
        await asyncio.sleep(8)
        _send(pids, signal.SIGCONT)
        await witness.until_all_ended(timeout_s=40)
        assert one.is_alive

    assert await witness.done_once() == 8


async def _server_processes(server: EmbeddedPostgres) -> list[int]:
    assert server.pid is not None
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    if not children.exists():
        pytest.skip("needs the process table of Linux")
    return [server.pid, *map(int, children.read_text("utf-8").split())]


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


async def test_a_limit_holds_through_kills_of_workers_and_restarts_of_the_server(
    server: EmbeddedPostgres, dsn: str, witness: Witness, tmp_path: Path
) -> None:
    """H2 and H4: a restart between repeated kills of workers."""
    await witness.value("select makeready.queue_set('drill', 'max_in_flight', '3')")
    async with limit_watched(dsn, 3), worker_process(dsn, tmp_path, "steady") as steady:
        await witness.enqueue(60, do="sleep", seconds=0.2)
        for round_ in range(3):
            async with worker_process(dsn, tmp_path, "shaky") as shaky:
                await asyncio.sleep(1)
                if round_ == 1:
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                shaky.send(signal.SIGKILL)
                await shaky.ended()
        await witness.until_all_ended(timeout_s=60)
        assert steady.is_alive

    assert await witness.done_once() == 60


async def test_killed_workers_lose_no_job_and_do_none_twice(
    dsn: str, witness: Witness, tmp_path: Path
) -> None:
    """H1 and H4: crash recovery, repeated kills."""
    async with worker_process(dsn, tmp_path, "steady") as steady:
        await witness.enqueue(150, do="sleep", seconds=0.6)
        for _ in range(5):
            await _one_life(dsn, tmp_path)
        await witness.until_all_ended(timeout_s=60)
        assert steady.is_alive

    assert await witness.done_once() == 150
    assert await witness.number("select max(attempt) from makeready.jobs") == 1
    assert await witness.number("select count(*) from makeready.attempts") > 0


async def _one_life(dsn: str, folder: Path) -> None:
    worker: WorkerProcess
    async with worker_process(dsn, folder, "shaky") as worker:
        await worker.until_event("job_start")
        worker.send(signal.SIGKILL)
        await worker.ended()
