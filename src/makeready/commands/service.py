"""The HTTP service as its user sees it: for commands that wait for it, or work through it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from makeready.embedded.processes import EmbeddedError
from makeready.errors import MakereadyError

READY_POLL_S = 0.05
READY_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 30.0


class ServiceError(MakereadyError):
    """The service answered something else than it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Speaks to the service as one user."""

    session: aiohttp.ClientSession
    base_url: str
    token: str | None = None

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON answer; ServiceError unless it is a success."""
        return await self.call("GET", path)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `get`, for a POST."""
        return await self.call("POST", path, body)

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `get`, for a PUT."""
        return await self.call("PUT", path, body)

    async def fetch(self, path: str) -> bytes:
        """The bytes that the service answers with; ServiceError unless it is a success."""
        async with self.session.get(self.base_url + path, headers=self._bearer()) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise ServiceError(f"GET {path} answered {answer.status}: {data[:500]!r}")
            return data

    async def download(self, url: str) -> bytes:
        """The bytes behind a presigned link."""
        async with self.session.get(url) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise ServiceError(f"the link answered {answer.status}")
            return data

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        form: aiohttp.FormData | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON answer to a body of JSON or a form; ServiceError unless it is a success."""
        async with self.session.request(
            method,
            self.base_url + path,
            json=body,
            data=form,
            headers={**self._bearer(), **(headers or {})},
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ServiceError(f"{method} {path} answered {answer.status}: {text[:500]}")
            found: dict[str, Any] = json.loads(text)
            return found

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def new_session() -> aiohttp.ClientSession:
    """A client session with a bound on every request."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S))


async def wait_ready(client: Client) -> None:
    """Returns once the service says that it is ready; ServiceError with its last word if never."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            await client.get("/health/ready")
        except ServiceError as error:
            last = str(error)
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            last = f"{type(error).__name__}: {error}"
        else:
            return
        await asyncio.sleep(READY_POLL_S)
    raise ServiceError(f"the service was not ready in {READY_TIMEOUT_S:.0f} s: {last}")


def check_port(host: str, port: int) -> None:
    """Raises EmbeddedError when another program listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EmbeddedError(
                f"{host}:{port} cannot be listened on ({error.strerror}): "
                "stop the other program, or set MAKEREADY_HTTP_PORT"
            ) from None
