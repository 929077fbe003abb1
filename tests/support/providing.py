"""What tests of providers share: a task, a call, a server on the other side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from makeready.values import Secret
from makeready_workers.providers.base import Call, Image, Provider, ProviderFailed, Task
from makeready_workers.providers.wire import new_session
from tests.support.provider_server import KEY, ProviderServer, picture, provider_server

PHOTO = Image(content=picture("image/jpeg", "#c08060"), media_type="image/jpeg")
STYLE = Image(content=picture("image/png", "#10a020"), media_type="image/png")


@dataclass(slots=True, kw_only=True)
class Desk:
    """Asks one provider that lives on the server."""

    server: ProviderServer
    http: aiohttp.ClientSession
    http_private: aiohttp.ClientSession
    kind: str
    provider: Provider
    settings: dict[str, Any]
    operation: str = "edit"
    calls: list[Call] = field(default_factory=list)

    def task(
        self,
        photo: Image = PHOTO,
        templates: Mapping[str, Image] | None = None,
        operation: str = "",
        **settings: Any,
    ) -> Task:
        return Task(
            job_id=uuid4(),
            operation=operation or self.operation,
            settings=self.settings | settings,
            photo=photo,
            templates=templates or {},
        )

    def call(self, *, seconds: float = 10, key: str | None = KEY, **options: Any) -> Call:
        async def public_url() -> str:
            return f"{self.server.url}/files/photo.jpg?signature=of-a-photo"

        given = self.server.options(self.kind, **options)
        call = Call(
            http=self.http_private if given.get("allows_private") else self.http,
            options=given,
            key=None if key is None else Secret(key),
            deadline=asyncio.get_running_loop().time() + seconds,
            public_url=public_url,
        )
        self.calls.append(call)
        return call

    async def ask(self, task: Task | None = None, **call: Any) -> Image:
        return await self.provider.process(task or self.task(), self.call(**call))

    async def failure(self, task: Task | None = None, **call: Any) -> ProviderFailed:
        """How asking fails; ING-071: what is told of it names neither key nor link nor image."""
        with pytest.raises(ProviderFailed) as raised:
            await self.ask(task, **call)
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
        for text in (str(raised.value), json.dumps(self.notes)):
            assert KEY not in text
            assert "signature" not in text
            assert "://" not in text
            assert "9j/4AAQ" not in text  # base64 of a JPEG's head
        return raised.value

    @property
    def notes(self) -> dict[str, Any]:
        return self.calls[-1].notes


@asynccontextmanager
async def desk(kind: str, provider: Provider, **settings: Any) -> AsyncIterator[Desk]:
    """A desk with a server of its own."""
    async with (
        provider_server() as server,
        new_session(private=False) as http,
        new_session(private=True) as http_private,
    ):
        yield Desk(
            server=server,
            http=http,
            http_private=http_private,
            kind=kind,
            provider=provider,
            settings=settings,
        )


def meaning(failed: ProviderFailed) -> tuple[str, bool, bool]:
    """Its reason, whether the provider may be asked again, whether another key may do."""
    return failed.reason, failed.may_retry, failed.key_is_bad
