"""Keys of providers: which one is taken, how long it rests, when it is waited for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from makeready_workers.providers import keys
from tests.support.photo_rig import (
    again,
    good,
    no,
    rig,
    step,
)


async def test_a_key_that_is_used_up_rests_and_the_next_one_is_taken() -> None:
    used_up = no("quota", "limit", may_retry=True, retry_after_s=55.0, key_is_bad=True)
    one = step("gemini", "first", "second", "third")
    async with rig(gemini=[used_up, no("rejected", key_is_bad=True), good]) as it:
        await it.run(one)
    assert it.fakes["gemini"].keys == ["first", "second", "third"]
    assert it.rested == [(one.keys[0].id, 55.0), (one.keys[1].id, keys.REFUSED_RESTS_S)]


async def test_a_key_rests_as_long_as_the_provider_says() -> None:
    one = step("gemini", "first", "second")
    async with rig(gemini=[no("quota", retry_after_s=40.0, key_is_bad=True), good]) as it:
        await it.run(one)
    assert it.rested == [(one.keys[0].id, 40.0)]


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
        assert (
            asyncio.get_running_loop().time() - started >= 0.019
        )  # a timer may be early by a tick
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
    async with rig(gemini=[good], webhook=[good]) as it:
        assert (await it.failure(step("gemini"))).reason == "quota"
        assert "cannot be opened" in str(await it.failure(step("gemini", "foreign")))
        named = {"headers": [{"name": "Authorization", "value": "Bearer {key}"}]}
        assert (await it.failure(step("webhook", options=named))).reason == "quota"  # it rests
    assert it.fakes["gemini"].calls == it.fakes["webhook"].calls == []
