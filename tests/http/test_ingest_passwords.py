"""The password of booths: compared off the loop, remembered by a keyed mark, tries counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import asyncpg
import pytest

from makeready import passwords
from makeready.config import Settings
from makeready_http import photo_passwords
from tests.support.booth import (
    PASSWORD,
    SLOT,
    Studio,
    form,
    line_to,
    opened,
    photo,
    post,
    set_password,
    waits_for,
)
from tests.support.service import Service, serving
from tests.support.waiting import until

TRIES = "select coalesce(sum(cardinality(hits)), 0) from makeready.throttles"


@pytest.fixture
async def service(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> AsyncIterator[Service]:
    await opened(db)
    async with serving(settings, photo_workers=studio.open) as running:
        yield running


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Passwords that were compared with the hash, in threads of their own."""
    found: list[str] = []
    is_right = passwords.is_right

    def noted(password: str, digest: str | None) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        found.append(password)
        return is_right(password, digest)

    monkeypatch.setattr(passwords, "is_right", noted)
    return found


async def test_a_booth_pays_for_the_comparison_once(
    service: Service, db: asyncpg.Connection, compared: list[str]
) -> None:
    for _ in range(3):
        assert (await post(service.url)).status == 200

    assert compared == [PASSWORD]
    assert await db.fetchval(TRIES) == 0


async def test_booths_that_start_together_are_no_brute_force(
    service: Service, compared: list[str]
) -> None:
    answers = await asyncio.gather(*(post(service.url, form(photo(50 + n))) for n in range(12)))

    assert {answer.status for answer in answers} == {200}
    assert compared == [PASSWORD]


async def test_a_new_password_holds_from_the_next_request_on_ing_067(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    # ING-067
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    under_way = asyncio.create_task(post(service.url))
    await until(lambda: studio.begun)
    await set_password(db, "another one")

    assert (await post(service.url, form(photo(65)))).status == 401
    ready.set()
    assert (await under_way).status == 200
    assert (await post(service.url, form(photo(65), password="another one"))).status == 200
    assert (await post(service.url, form(photo(66)))).status == 401


async def test_ten_wrong_ones_are_enough(
    service: Service, db: asyncpg.Connection, compared: list[str]
) -> None:
    for number in range(10):
        assert (await post(service.url, form(password=f"guess {number}"))).status == 401
    async with line_to(service.url) as line:
        await line.head(1 << 20, headers={"Expect": "100-continue"})
        answer = await line.answer()

    assert (answer.status, answer.code) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 300
    assert answer.headers["cache-control"] == "no-store"
    assert len(compared) == 10
    assert (await post(service.url, slot="slot-002")).status == 200  # nobody else is locked out
    await db.execute("delete from makeready.throttles")
    assert (await post(service.url, slot=SLOT)).status == 200


async def test_a_right_one_forgets_the_wrong_ones_before(
    service: Service, db: asyncpg.Connection
) -> None:
    for number in range(3):
        await post(service.url, form(password=f"guess {number}"))
    assert await db.fetchval(TRIES) == 3
    assert (await post(service.url)).status == 200
    assert await db.fetchval(TRIES) == 0


async def test_two_are_compared_at_a_time_and_the_loop_goes_on_ing_040(
    service: Service, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.execute("select makeready.throttle_set('ingest_password', 1000, '5 minutes')")
    at_once = most = 0
    let_go = threading.Event()
    turn = threading.Lock()

    def slow(_: str, __: str | None) -> bool:
        nonlocal at_once, most
        with turn:
            at_once += 1
            most = max(most, at_once)
        let_go.wait(10)
        with turn:
            at_once -= 1
        return False

    monkeypatch.setattr(passwords, "is_right", slow)
    guesses = [
        asyncio.create_task(post(service.url, form(password=f"guess {n}"))) for n in range(6)
    ]
    await until(lambda: at_once == 2)
    assert (await service.client.get("/health/live")).status_code == 200
    let_go.set()

    assert {(await guess).status for guess in guesses} == {401}
    assert most == 2


async def test_who_waits_too_long_for_a_comparison_is_told_to_come_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_passwords, "TIMEOUT_S", 0.2)
    let_go = threading.Event()

    def slow(_: str, __: str | None) -> bool:
        let_go.wait(10)
        return False

    monkeypatch.setattr(passwords, "is_right", slow)
    guesses = [
        asyncio.create_task(post(service.url, form(password=f"guess {n}"))) for n in range(3)
    ]
    done, _ = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
    answer = done.pop().result()
    let_go.set()

    assert (answer.status, answer.code) == (503, "queue_unavailable")
    await asyncio.wait(guesses)
