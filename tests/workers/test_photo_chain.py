"""Asking providers: which tries are made, with which key, how long, and what stands at the end."""

from __future__ import annotations

import asyncio

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from makeready_workers.providers import chain, tally
from makeready_workers.providers.base import Call, Image, ProviderFailed
from makeready_workers.providers.chain import OutOfTime
from tests.support.photo_pictures import quarters, saved
from tests.support.photo_rig import (
    FAST,
    IMAGE,
    again,
    good,
    hanging,
    no,
    ordered,
    raising,
    rig,
    step,
)


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


async def test_ing_030_five_tries_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_now", lambda: 0.0)  # a busy machine takes a millisecond
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


async def test_of_a_provider_that_failed_only_its_calls_are_told_beside_an_image() -> None:
    """ING-056: what it has noted says nothing of the image, which is another's."""
    failed = raising(ProviderFailed("rejected", "no"), model="one", provider_reference="order-1")
    async with rig(webhook=[failed]) as it:
        made = await it.run(step(), step("local", operation="echo"))
    facts = it.tally.facts(made.step)
    assert facts.keys() == {"provider", "operation", "attempts", "cost", "calls"}
    assert (facts["provider"], facts["operation"]) == ("local", "echo")
    assert [(each["provider"], each["failures"]) for each in facts["calls"]] == [("webhook", 1)]


async def test_echo_asks_nobody_also_as_a_last_resort() -> None:
    echo = step("local", operation="echo")
    async with rig(webhook=[no("rejected")]) as it:
        assert (await it.run(echo)).image is None
        made = await it.run(step(), echo)
    assert (made.image, made.step.provider) == (None, "local")
    assert it.tally.facts(made.step)["provider"] == "local"


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
            await it.run(step(options={"poll_interval_s": 0.01}), window_s=0.6)
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


async def test_a_provider_that_hangs_leaves_time_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chain, "OWN_SHARE", 0.1)
    async with rig(webhook=[hanging], fal=[good]) as it:
        made = await it.run(step(), step("fal", "k"), window_s=4)
    assert made.step.provider == "fal"


async def test_of_what_is_left_a_provider_has_two_parts_and_each_behind_it_one() -> None:
    async with rig(webhook=[no()], gemini=[no()], fal=[good]) as it:
        started = asyncio.get_running_loop().time()
        await it.run(step(), step("gemini", "k"), step("fal", "k"), window_s=40)
    (one,), (two,), (three,) = (it.fakes[each].calls for each in ("webhook", "gemini", "fal"))
    assert started + 20 <= one.deadline < two.deadline < three.deadline
    assert started + 26 <= two.deadline
    assert started + 40 <= three.deadline


async def test_one_that_works_here_takes_little_of_the_window() -> None:
    async with rig(webhook=[good], local=[good]) as it:
        started = asyncio.get_running_loop().time()
        await it.run(step(), step("local", operation="frame"), window_s=40)
    assert 38.5 <= it.fakes["webhook"].calls[0].deadline - started < 40


async def test_no_try_begins_without_time_for_an_answer() -> None:
    async with rig(webhook=[good]) as it:
        with pytest.raises(OutOfTime):
            await it.run(step(), window_s=-1)
        assert "switched off" in str(await it.failure())
    assert it.fakes["webhook"].calls == []


async def test_failing_until_the_time_is_up_is_no_timeout() -> None:
    async with rig(webhook=[again("no_image")]) as it:
        failed = await it.failure(step(options={"retry_pause_s": 0.3}), window_s=1)
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


async def test_a_lane_that_stays_full_is_a_provider_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chain, "OWN_SHARE", 0.1)
    full = step("webhook", max_parallel=1)
    async with rig(webhook=[hanging], fal=[good]) as it, anyio.create_task_group() as group:
        group.start_soon(it.run, full)
        while not it.fakes["webhook"].calls:
            await anyio.lowlevel.checkpoint()
        made = await it.run(full, step("fal", "k"), window_s=4)
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
