"""Asks providers whether they are there, with the key that a photo would use; bills nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import aiohttp
import anyio
import asyncpg

from makeready import ingest
from makeready.ingest import SealedKey, Step
from makeready.photo_kinds import KINDS
from makeready.sealing import SealingError
from makeready.values import Secret
from makeready_workers.providers.base import Call, Provider, ProviderFailed

PING_S = 0.8


class ProviderPings:
    """Of one process; all providers that slots use at a time."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        session: Callable[[Step], aiohttp.ClientSession],
        providers: Mapping[str, Provider],
        open_key: Callable[[str, SealedKey], Secret],
    ) -> None:
        self._pool = pool
        self._session = session
        self._providers = providers
        self._open_key = open_key

    async def __call__(self) -> dict[str, str]:
        """By provider: `ok`, or in a word why not. Takes no longer than a second."""
        steps = await ingest.steps_in_use(self._pool)
        found = {step.provider: "timeout" for step in steps}
        async with anyio.create_task_group() as group:
            for step in steps:
                group.start_soon(self._one, step, found)
        return found

    async def _one(self, step: Step, found: dict[str, str]) -> None:
        if KINDS[step.kind].wants_key(step.options) and not step.keys:
            found[step.provider] = "no_key"
            return
        with anyio.move_on_after(PING_S):
            found[step.provider] = await self._said(step)

    async def _said(self, step: Step) -> str:
        try:
            key = self._open_key(step.provider, step.keys[0]) if step.keys else None
            call = Call(
                http=self._session(step),
                options=step.options,
                key=key,
                deadline=anyio.current_time() + PING_S,
                public_url=_no_link,
            )
            await self._providers[step.kind].ping(call)
        except ProviderFailed as error:
            return error.reason
        except (aiohttp.ClientError, OSError):
            return "unreachable"
        except SealingError:
            return "no_key"
        return "ok"


async def _no_link() -> str:
    raise ProviderFailed("rejected", "nothing is shown for a ping")
