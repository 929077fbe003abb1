"""A chain of providers that do as a test says, without database and network."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from makeready.ingest import SealedKey, Step
from makeready.sealing import SealingError
from makeready.values import Secret
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.chain import Chain, Made, Surroundings
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
