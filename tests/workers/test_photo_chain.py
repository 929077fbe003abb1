"""Asking providers: which tries are made, with which key, how long, and what stands at the end."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from makeready.ingest import SealedKey, Step
from makeready.sealing import SealingError
from makeready.values import Secret
from makeready_workers.providers import chain, keys
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.chain import Chain, Made, OutOfTime, Surroundings
from makeready_workers.providers.tally import Tally
from tests.support.photo_pictures import quarters, saved

IMAGE = Image(content=saved(quarters()), media_type="application/octet-stream")
FAST = {"retry_pause_s": 0.005}
WINDOW_S = 20.0

Answer = Callable[[Call], Awaitable[Image]]


@dataclass(kw_only=True)
class Fake:
    """A provider that answers as told, one after the other; the last one for ever."""

    answers: list[Answer]
    calls: list[Call] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    cancelled: list[Any] = field(default_factory=list)

    async def process(self, task: Task, call: Call) -> Image:
        assert task.photo.content
        self.calls.append(call)
        self.keys.append(call.key.reveal() if call.key else None)
        return await self.answers[min(len(self.calls), len(self.answers)) - 1](call)

    async def cancel(self, call: Call) -> None:
        self.cancelled.append(call.notes.get("provider_reference"))

    async def ping(self, call: Call) -> None:
        raise NotImplementedError


class Photo:
    """A photo without a database behind it."""

    async def task(self, step: Step) -> Task:
        return Task(
            job_id=uuid4(), operation=step.operation, settings={}, photo=IMAGE, templates={}
        )

    async def link(self, step: Step) -> str:
        return f"https://here.example/{step.provider}"


@dataclass(kw_only=True)
class Rig:
    """A chain with fakes around it."""

    chain: Chain
    fakes: dict[str, Fake]
    rested: list[tuple[UUID, float]]
    group: anyio.abc.TaskGroup
    tally: Tally = field(default_factory=Tally)

    async def run(self, *steps: Step, window_s: float = WINDOW_S) -> Made:
        until = asyncio.get_running_loop().time() + window_s
        return await self.chain.run(Photo(), steps, until=until, tally=self.tally)

    async def failure(self, *steps: Step, window_s: float = WINDOW_S) -> ProviderFailed:
        with pytest.raises(ProviderFailed) as raised:
            await self.run(*steps, window_s=window_s)
        return raised.value


@asynccontextmanager
async def rig(**answers: Sequence[Answer]) -> AsyncIterator[Rig]:
    """Fakes by kind."""
    fakes = {kind: Fake(answers=list(each)) for kind, each in answers.items()}
    rested: list[tuple[UUID, float]] = []

    async def rest_key(key: UUID, seconds: float, _: str) -> None:
        rested.append((key, seconds))

    def open_key(_: str, key: SealedKey) -> Secret:
        if key.sealed == b"foreign":
            raise SealingError("sealed under another key")
        return Secret(key.sealed.decode())

    async with aiohttp.ClientSession() as http, anyio.create_task_group() as group:

        def in_background(call: Callable[[], Awaitable[object]], _: str) -> None:
            async def run() -> None:
                await call()

            group.start_soon(run)

        around = Surroundings(
            http=http,
            http_private=http,
            providers=fakes,
            open_key=open_key,
            rest_key=rest_key,
            in_background=in_background,
        )
        yield Rig(chain=Chain(around), fakes=fakes, rested=rested, group=group)


def step(kind: str = "webhook", *keys: str, **changes: Any) -> Step:
    """A step whose provider is named like its kind; webhook and local need no key."""
    sealed = tuple(SealedKey(id=uuid4(), nonce=b"", sealed=key.encode()) for key in keys)
    found: dict[str, Any] = {
        "provider": kind,
        "kind": kind,
        "operation": "edit",
        "settings": {},
        "options": FAST,
        "keys": sealed,
    }
    return Step(**(found | changes))


async def good(_: Call) -> Image:
    return IMAGE


async def hanging(_: Call) -> Image:
    await asyncio.Event().wait()
    return IMAGE


async def ordered(call: Call) -> Image:
    """Takes an order and is never done with it."""
    call.notes["provider_reference"] = "order-1"
    return await hanging(call)


def no(reason: Any = "upstream", text: str = "no", **how: Any) -> Answer:
    """Fails so."""

    async def answer(_: Call) -> Image:
        raise ProviderFailed(reason, text, **how)

    return answer


def raising(error: Exception, **notes: Any) -> Answer:
    """Raises something of the network's."""

    async def answer(call: Call) -> Image:
        call.notes.update(notes)
        raise error

    return answer


again = functools.partial(no, may_retry=True)


async def test_an_image_counts_under_the_type_that_it_has() -> None:
    async with rig(webhook=[good]) as it:
        made = await it.run(step())
    assert made.image is not None
    assert (made.image.content, made.image.media_type) == (IMAGE.content, "image/jpeg")
    assert made.step.provider == "webhook"


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\xff\xd8\xff", saved(quarters())[:300], saved(quarters(), "GIF")]
)
async def test_what_is_no_image_does_not_count(content: bytes) -> None:
    async def answer(_: Call) -> Image:
        return Image(content=content, media_type="image/jpeg")

    async with rig(webhook=[answer]) as it:
        assert (await it.failure(step())).reason == "invalid_response"
    assert len(it.fakes["webhook"].calls) == 1


async def test_an_image_that_is_too_large_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "IMAGE_MAX_BYTES", 100)
    async with rig(webhook=[good]) as it:
        assert (await it.failure(step())).reason == "invalid_response"


async def test_ing_030_five_tries_and_no_more() -> None:
    async with rig(webhook=[again()]) as it:
        assert (await it.failure(step())).reason == "upstream"
    assert len(it.fakes["webhook"].calls) == 5
    assert it.tally.calls() == [
        {"provider": "webhook", "calls": 5, "failures": 5, "ms": 0, "cost": 0.0}
    ]


async def test_ing_030_three_seconds_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    async with rig(webhook=[again(), again(retry_after_s=7.5), good]) as it:
        await it.run(step(options={}))
    assert pauses == [3.0, 7.5]


async def test_ing_030_connections_and_time_that_is_up_are_tried_again() -> None:
    faults = [aiohttp.ServerDisconnectedError(), OSError("reset"), TimeoutError()]
    async with rig(webhook=[*(raising(fault) for fault in faults), good]) as it:
        await it.run(step())
    assert len(it.fakes["webhook"].calls) == 4


async def test_what_was_refused_and_paid_for_is_not_asked_again() -> None:
    """ING-030: retried only on what may bring an image yet."""
    async with rig(webhook=[no("rejected", "safety")]) as it:
        failed = await it.failure(step())
    assert (failed.reason, str(failed)) == ("rejected", "safety")
    assert len(it.fakes["webhook"].calls) == 1


async def test_what_has_been_ordered_is_not_ordered_twice() -> None:
    broken = raising(aiohttp.ServerDisconnectedError(), provider_reference="order-1")
    async with rig(webhook=[broken, good]) as it:
        await it.failure(step())
    fake = it.fakes["webhook"]
    assert (len(fake.calls), fake.cancelled) == (1, ["order-1"])


async def test_a_driver_that_breaks_is_a_provider_that_fails() -> None:
    async with rig(webhook=[raising(KeyError("x"))], fal=[good]) as it:
        made = await it.run(step(), step("fal", "key"))
    assert made.step.provider == "fal"
    assert len(it.fakes["webhook"].calls) == 1


async def test_the_next_provider_is_asked_when_one_fails() -> None:
    async with rig(webhook=[no("rejected")], gemini=[no("quota")], fal=[good]) as it:
        made = await it.run(step(), step("gemini", "a"), step("fal", "b"))
    assert made.step.provider == "fal"
    facts = it.tally.facts(made.step)
    assert (facts["provider"], facts["attempts"]) == ("fal", 3)
    assert [each["provider"] for each in facts["calls"]] == ["webhook", "gemini", "fal"]


async def test_the_last_failure_is_the_one_that_is_told() -> None:
    async with rig(webhook=[no("rejected", "first")], fal=[no("no_image", "last")]) as it:
        failed = await it.failure(step(), step("fal", "k"))
    assert (failed.reason, str(failed)) == ("no_image", "last")


async def test_echo_asks_nobody_also_as_a_last_resort() -> None:
    echo = step("local", operation="echo")
    async with rig(webhook=[no("rejected")]) as it:
        assert (await it.run(echo)).image is None
        made = await it.run(step(), echo)
    assert (made.image, made.step.provider) == (None, "local")
    assert it.tally.facts(made.step)["provider"] == "local"


async def test_a_key_that_is_used_up_rests_and_the_next_one_is_taken() -> None:
    used_up = no("quota", "limit", may_retry=True, retry_after_s=55.0, key_is_bad=True)
    one = step("gemini", "first", "second", "third")
    async with rig(gemini=[used_up, no("rejected", key_is_bad=True), good]) as it:
        await it.run(one)
    assert it.fakes["gemini"].keys == ["first", "second", "third"]
    assert it.rested == [(one.keys[0].id, 55.0), (one.keys[1].id, keys.REFUSED_RESTS_S)]


async def test_a_key_that_rests_for_a_moment_is_waited_for() -> None:
    busy = again("quota", retry_after_s=0.01, key_is_bad=True)
    async with rig(gemini=[busy, busy, good]) as it:
        await it.run(step("gemini", "first", "second"))
    assert it.fakes["gemini"].keys == ["first", "second", "first"]
    resting = step("gemini", "resting")
    resting = replace(resting, keys=(replace(resting.keys[0], rests_s=0.02),))
    async with rig(gemini=[good], fal=[good]) as it:
        started = asyncio.get_running_loop().time()
        await it.run(resting)
        assert asyncio.get_running_loop().time() - started >= 0.02
        late = replace(resting, keys=(replace(resting.keys[0], rests_s=40),))
        assert "rest" in str(await it.failure(late))
        assert (await it.run(late, step("fal", "k"))).step.provider == "fal"


async def test_the_last_key_rests_too_and_the_provider_is_given_up() -> None:
    one = step("gemini", "only")
    async with rig(gemini=[no("quota", key_is_bad=True)]) as it:
        assert (await it.failure(one)).reason == "quota"
    assert it.rested == [(one.keys[0].id, keys.QUOTA_RESTS_S)]
    assert len(it.fakes["gemini"].calls) == 1


async def test_keys_that_cannot_be_opened_or_are_missing_are_told() -> None:
    async with rig(gemini=[good]) as it:
        assert (await it.failure(step("gemini"))).reason == "quota"
        assert "cannot be opened" in str(await it.failure(step("gemini", "foreign")))
    assert it.fakes["gemini"].calls == []


async def test_a_pause_that_is_longer_than_what_is_left_is_not_waited_for() -> None:
    """ING-031 and ING-033: nothing is tried that cannot be done in the window."""
    async with rig(webhook=[again(retry_after_s=55.0)], fal=[good]) as it:
        started = asyncio.get_running_loop().time()
        made = await it.run(step(), step("fal", "k"))
        assert asyncio.get_running_loop().time() - started < 10
    assert made.step.provider == "fal"
    async with rig(webhook=[again("quota", retry_after_s=55.0)]) as it:
        assert (await it.failure(step())).reason == "quota"


async def test_ing_032_the_window_ends_a_try_and_the_order_is_withdrawn() -> None:
    async with rig(webhook=[ordered]) as it:
        with pytest.raises(OutOfTime):
            await it.run(step(options={"poll_interval_s": 0.01}), window_s=0.1)
    assert it.fakes["webhook"].cancelled == ["order-1"]
    assert len(it.fakes["webhook"].calls) == 1


async def test_ing_032_whoever_is_cancelled_withdraws_the_order() -> None:
    async with rig(webhook=[ordered]) as it, anyio.create_task_group() as group:
        group.start_soon(it.run, step())
        while not it.fakes["webhook"].calls:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert it.fakes["webhook"].cancelled == ["order-1"]
    assert it.tally.calls()[0]["failures"] == 0


async def test_a_provider_that_hangs_leaves_time_to_the_next() -> None:
    async with rig(webhook=[hanging], fal=[good]) as it:
        started = asyncio.get_running_loop().time()
        made = await it.run(step(), step("fal", "k"), window_s=0.3)
    assert made.step.provider == "fal"
    (first,), (second,) = it.fakes["webhook"].calls, it.fakes["fal"].calls
    assert started + 0.2 <= first.deadline < second.deadline


async def test_one_that_works_here_takes_little_of_the_window() -> None:
    async with rig(webhook=[good], local=[good]) as it:
        started = asyncio.get_running_loop().time()
        await it.run(step(), step("local", operation="frame"), window_s=40)
    assert 38.5 <= it.fakes["webhook"].calls[0].deadline - started < 40


async def test_no_try_begins_without_time_for_an_answer() -> None:
    async with rig(webhook=[good]) as it:
        with pytest.raises(OutOfTime):
            await it.run(step(), window_s=-1)
        with pytest.raises(OutOfTime):
            await it.run(window_s=5)
    assert it.fakes["webhook"].calls == []


async def test_failing_until_the_time_is_up_is_no_timeout() -> None:
    async with rig(webhook=[again("no_image")]) as it:
        failed = await it.failure(step(options={"retry_pause_s": 0.05}), window_s=0.2)
    assert failed.reason == "no_image"
    assert 2 <= len(it.fakes["webhook"].calls) <= 5


async def test_ing_022_no_more_are_with_a_provider_than_its_lane_allows() -> None:
    most = now = 0

    async def counted(_: Call) -> Image:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await anyio.sleep(0.01)
        now -= 1
        return IMAGE

    async with rig(webhook=[no()], fal=[counted]) as it, anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(it.run, step(), step("fal", "k", max_parallel=2))
    assert (most, len(it.fakes["fal"].calls)) == (2, 6)


async def test_a_lane_that_stays_full_is_a_provider_that_fails() -> None:
    full = step("webhook", max_parallel=1)
    async with rig(webhook=[hanging], fal=[good]) as it, anyio.create_task_group() as group:
        group.start_soon(it.run, full)
        while not it.fakes["webhook"].calls:
            await anyio.lowlevel.checkpoint()
        made = await it.run(full, step("fal", "k"), window_s=0.15)
        group.cancel_scope.cancel()
    assert made.step.provider == "fal"


async def test_costs_are_as_told_or_by_the_price_of_the_options() -> None:
    async def dear(call: Call) -> Image:
        call.notes |= {"cost": 0.25, "model": "m" * 500, "http_status": 200}
        return IMAGE

    priced = {**FAST, "price": 0.04}
    async with rig(webhook=[no()], gemini=[dear], fal=[good]) as it:
        await it.run(step(options=priced), step("fal", "k", options=priced))
        made = await it.run(step("gemini", "k", options=priced))
    facts = it.tally.facts(made.step)
    assert facts["cost"] == 0.29
    assert (facts["http_status"], len(facts["model"])) == (200, 300)
    assert "key" not in str(facts)
