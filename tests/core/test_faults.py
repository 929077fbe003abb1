from __future__ import annotations

import asyncio

import anyio
import asyncpg
import pytest

from makeready.errors import Busy, LeaseLost
from makeready.faults import (
    LONGEST_PAUSE_S,
    Backoff,
    DatabaseAway,
    again,
    database_fault,
    is_away,
    is_transient,
)


def _sql_error(state: str) -> asyncpg.PostgresError:
    error = asyncpg.PostgresError.new({"C": state, "M": "text"})
    assert isinstance(error, asyncpg.PostgresError)
    return error


@pytest.mark.parametrize(
    "error",
    [
        *map(_sql_error, ["57P01", "57P02", "57P03", "08006", "08003", "53300", "40001", "40P01"]),
        *map(_sql_error, ["25006", "55P03", "57014", "55000"]),
        OSError(),
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress"),
    ],
)
def test_a_fault_of_the_moment_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [*map(_sql_error, ["23505", "42P01", "22023", "28P01"]), Busy(), LeaseLost(), ValueError()],
)
def test_an_error_of_the_call_is_not_transient(error: Exception) -> None:
    assert not is_transient(error)


def test_only_the_database_itself_says_that_it_is_away() -> None:
    assert is_away(_sql_error("57P01"))
    assert is_away(_sql_error("08006"))
    assert not is_away(_sql_error("40001"))
    assert is_away(DatabaseAway())
    assert not is_away(OSError())  # may be of object storage


def test_pauses_grow_to_their_bound_with_jitter() -> None:
    backoff = Backoff(first_s=0.1, longest_s=1.0)
    pauses = [backoff.pause_s() for _ in range(8)]

    for pause, full in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1], strict=True):
        assert full / 2 <= pause <= full
    assert len(set(pauses)) == 8

    backoff.reset()
    assert backoff.pause_s() <= 0.1
    assert LONGEST_PAUSE_S <= 2


async def test_a_call_is_repeated_through_faults_of_the_moment() -> None:
    faults = [OSError(), _sql_error("57P01")]

    async def call() -> str:
        if faults:
            raise faults.pop()
        return "answer"

    assert await again(call, patience_s=5) == "answer"


async def test_an_error_of_the_call_is_not_repeated() -> None:
    calls = []

    async def call() -> None:
        calls.append(1)
        raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        await again(call, patience_s=5)
    assert len(calls) == 1


async def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = anyio.sleep

    async def noted(pause_s: float) -> None:
        pauses.append(pause_s)
        await sleep(pause_s)

    async def call() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(anyio, "sleep", noted)
    with pytest.raises(ConnectionRefusedError):
        await again(call, patience_s=0.4)
    assert 0 < sum(pauses) <= 0.4, "no pause goes past the end"


async def test_a_cancellation_that_nobody_asked_for_is_a_fault_of_the_database() -> None:
    with pytest.raises(DatabaseAway), database_fault():
        raise asyncio.CancelledError


async def test_a_cancellation_that_was_asked_for_passes() -> None:
    async def call() -> None:
        with database_fault():
            await asyncio.sleep(60)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
