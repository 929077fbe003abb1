"""Asks one provider after the other for the changed photo, inside one window of time.

A provider is asked again when it may bring an image yet: at most five times, and once more for
each further key, three seconds apart or after the time that it names, with the next key when one
is refused or used up, and never when there is no time left for an answer. What has been ordered
there is not ordered twice: when the other side has a reference, a lost connection or time that is
up ends the try for good, and the order is withdrawn as well as can be. Each provider but the last
leaves time to those behind it.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import aiohttp
import anyio
import structlog

from makeready import picture_work
from makeready.errors import LeaseLost
from makeready.ingest import SealedKey, Step
from makeready.photo_kinds import KINDS
from makeready.picture_work import PictureUnfit
from makeready.sealing import SealingError
from makeready.values import Secret
from makeready_workers.picture_threads import in_thread
from makeready_workers.providers.base import (
    IMAGE_MAX_BYTES,
    Call,
    Image,
    Provider,
    ProviderFailed,
    Task,
)
from makeready_workers.providers.keys import Keys, pause_after, rest_after
from makeready_workers.providers.local import LOCAL, is_echo
from makeready_workers.providers.tally import Tally

ATTEMPTS = 5
LEAST_S = 1.0  # no try begins with less time before it, or with less than the share of its window
LEAST_SHARE = 0.05
OWN_SHARE = 2  # of a provider's time to 1 for each one behind it
LOCAL_S = 1.5  # what is kept for one that works here, at most a tenth of what is left
LOCAL_PART = 0.1
POLL_S = 2.0  # polls end up to one interval before their time
SLACK_S = 0.05

_log = structlog.get_logger(__name__)


class Source(Protocol):
    """A photo as the chain sees it."""

    async def task(self, step: Step) -> Task:
        """What a provider is asked; raises ProviderFailed."""

    async def link(self, step: Step) -> str:
        """Publishes what this provider gets; returns the link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of a photo."""

    image: Image | None
    """None: the photo as it came."""
    step: Step


class OutOfTime(Exception):
    """The window is over and nobody has brought an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the chain works with."""

    http: aiohttp.ClientSession
    """Connects to public addresses alone, as they are at the moment of connecting."""
    http_private: aiohttp.ClientSession
    """For providers that may lie in one's own network."""
    providers: Mapping[str, Provider]
    open_key: Callable[[str, SealedKey], Secret]
    """Raises SealingError."""
    rest_key: Callable[[UUID, float, str], Awaitable[None]]
    in_background: Callable[[Callable[[], Awaitable[object]], str], None]

    def session(self, step: Step) -> aiohttp.ClientSession:
        """What a provider is spoken with through."""
        return self.http_private if step.options.get("allows_private") else self.http


class Chain:
    """Asks for any number of photos at a time; one a process."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._lanes: dict[str, tuple[int, anyio.CapacityLimiter]] = {}

    async def run(
        self, source: Source, steps: Sequence[Step], *, until: float, tally: Tally
    ) -> Made:
        """The first image that any step brings; raises ProviderFailed of the last one, OutOfTime.

        `until`: the end of the window by the event loop's clock. `tally` is written as it goes.
        """
        if not steps:
            raise ProviderFailed("upstream", "its providers were switched off or deleted")
        asked = _Asked(self._around, source, tally, least_s=_least(until - _now()))
        failed: ProviderFailed | None = None
        for place, step in enumerate(steps):
            share = _share(steps[place:], until)
            asked.is_spent = False
            try:
                async with self._lane(step, share):
                    return Made(image=await asked.step(step, share), step=step)
            except ProviderFailed as error:
                failed = error
                _log.info(
                    "provider_failed",
                    provider=step.provider,
                    operation=step.operation,
                    reason=error.reason,
                    error=str(error),
                    is_last=place == len(steps) - 1,
                )
        if failed is None or asked.is_spent:
            raise OutOfTime(str(failed or "there was no provider to ask"))
        raise failed

    def _lane(self, step: Step, share: float) -> AbstractAsyncContextManager[object]:
        """A place with a provider: as many at a time as its lane allows, in this process.

        The database counts only the first of each chain; this bounds those it falls back to.
        """
        most = step.max_parallel
        if most is None:
            return nullcontext()
        known = self._lanes.get(step.provider)
        if known is None or known[0] != most:
            known = self._lanes[step.provider] = (most, anyio.CapacityLimiter(max(1, most)))
        return _Place(known[1], share)


class _Place:
    """A turn that is waited for as long as it is of use."""

    def __init__(self, lane: anyio.CapacityLimiter, until: float) -> None:
        self._lane = lane
        self._until = until
        self._turn = object()

    async def __aenter__(self) -> None:
        with anyio.move_on_after(self._until - _now()):
            await self._lane.acquire_on_behalf_of(self._turn)
            return
        raise ProviderFailed("quota", "as many photos are with it as may be at a time")

    async def __aexit__(self, *_: object) -> None:
        self._lane.release_on_behalf_of(self._turn)


class _Asked:
    """One photo on its way along the chain."""

    def __init__(
        self, around: Surroundings, source: Source, tally: Tally, *, least_s: float
    ) -> None:
        self._around = around
        self._source = source
        self._tally = tally
        self._least_s = least_s
        self.is_spent = False
        """Whether the last try ended because its time did."""

    async def step(self, step: Step, until: float) -> Image | None:
        """What one provider brings by then, in several tries; raises ProviderFailed."""
        if is_echo(step):
            return None
        provider = self._around.providers.get(step.kind)
        if provider is None:
            raise ProviderFailed("rejected", f"there is no program for the kind {step.kind}")
        keys = Keys(step.keys)
        if not step.keys and KINDS[step.kind].wants_key(step.options):
            raise ProviderFailed("quota", "it has no key that may be used now")
        task = await self._source.task(step)
        most = int(step.options.get("max_attempts", ATTEMPTS)) + max(0, len(step.keys) - 1)
        failed: ProviderFailed | None = None
        pause_s = 0.0
        while True:
            key, rests_s = keys.next()
            await self._wait(max(pause_s, rests_s), until, failed)
            try:
                return await self._try(provider, step, task, key, until)
            except ProviderFailed as error:
                pause_s = self._pause(error, step, key, keys)
                most -= 1
                if most <= 0:
                    raise
                failed = error

    async def _wait(self, pause_s: float, until: float, failed: ProviderFailed | None) -> None:
        """Waits before a try; raises why there is none when its time would be too short."""
        if _now() + pause_s + self._least_s <= until:
            if pause_s:
                await anyio.sleep(pause_s)
            return
        if failed is None and pause_s:
            failed = ProviderFailed("quota", "its keys rest until it is too late")
        if failed is None:
            self.is_spent = True
            failed = ProviderFailed("upstream", "there was no time to ask it")
        raise failed

    def _pause(
        self, error: ProviderFailed, step: Step, key: SealedKey | None, keys: Keys
    ) -> float:
        """Seconds that the provider is left alone; raises the error when nothing would help."""
        if key is None or not error.key_is_bad:
            if not error.may_retry:
                raise error
            return pause_after(error, step)
        rests_s = rest_after(error, step)
        rest = functools.partial(self._around.rest_key, key.id, rests_s, str(error)[:200])
        self._around.in_background(rest, "key_rest")
        keys.rest(key, rests_s if error.may_retry else math.inf)
        if keys.next()[1] == math.inf:
            raise error
        return 0.0  # the key rests, the provider does not

    async def _try(
        self, provider: Provider, step: Step, task: Task, key: SealedKey | None, until: float
    ) -> Image:
        call = Call(
            http=self._around.session(step),
            options=step.options,
            key=self._opened(step, key),
            deadline=until,
            public_url=functools.partial(self._source.link, step),
        )
        begun = self._tally.begun(step, call.notes)
        try:
            try:
                async with asyncio.timeout_at(until):
                    image = await provider.process(task, call)
                image = await _verified(image)
            except TimeoutError as error:
                text = "it was not done in time"
                raise ProviderFailed("upstream", text, may_retry=True) from error
            except (aiohttp.ClientError, OSError) as error:
                text = f"the connection to it failed: {type(error).__name__}"
                raise ProviderFailed("upstream", text, may_retry=True) from error
        except ProviderFailed as error:
            begun.failed(error)
            self.is_spent = error.reason == "upstream" and call.seconds_left <= self._slack(call)
            if error.reason == "upstream" and _reference(call):
                self._withdraw(provider, call)
                error.may_retry = False
            raise
        except (asyncio.CancelledError, LeaseLost):
            begun.cut_off()
            if _reference(call):
                self._withdraw(provider, call)
            raise
        except Exception as error:
            _log.exception("provider_crashed", provider=step.provider, kind=step.kind)
            failed = ProviderFailed("invalid_response", f"its driver: {type(error).__name__}")
            begun.failed(failed)
            raise failed from error
        begun.succeeded()
        return image

    def _opened(self, step: Step, key: SealedKey | None) -> Secret | None:
        if key is None:
            return None
        try:
            return self._around.open_key(step.provider, key)
        except SealingError as error:
            raise ProviderFailed("rejected", f"its key cannot be opened: {error}") from error

    def _slack(self, call: Call) -> float:
        """How long before its deadline a try may give up for want of time."""
        slack = min(SLACK_S, self._least_s)
        if _reference(call):
            slack += float(call.options.get("poll_interval_s", POLL_S))
        return slack

    def _withdraw(self, provider: Provider, call: Call) -> None:
        cancel = functools.partial(provider.cancel, call)
        self._around.in_background(cancel, "provider_cancel")


async def _verified(image: Image) -> Image:
    """An image under the type it really has; raises ProviderFailed for anything else."""
    if len(image.content) > IMAGE_MAX_BYTES:
        raise ProviderFailed("invalid_response", f"an image of {len(image.content)} bytes")
    try:
        facts = await in_thread(functools.partial(picture_work.verified, image.content))
    except PictureUnfit as error:
        raise ProviderFailed("invalid_response", f"what it sent: {error}") from error
    return Image(content=image.content, media_type=facts.media_type)


def _share(steps: Sequence[Step], until: float) -> float:
    """Until when the first of these may work: the rest is for those behind it."""
    left = until - _now()
    here = sum(1 for step in steps[1:] if step.kind == LOCAL)
    elsewhere = len(steps) - 1 - here
    if here:
        left -= min(LOCAL_S, left * LOCAL_PART)
    return _now() + left * OWN_SHARE / (OWN_SHARE + elsewhere)


def _least(window_s: float) -> float:
    return min(LEAST_S, window_s * LEAST_SHARE)


def _reference(call: Call) -> Any:
    return call.notes.get("provider_reference")


def _now() -> float:
    return asyncio.get_running_loop().time()
