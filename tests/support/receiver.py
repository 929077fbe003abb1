"""A program that is told things: a small HTTP server that answers as a test says.

It speaks raw HTTP on purpose: it has to be able to hang, to break off and to talk without end.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(slots=True, kw_only=True)
class Receiver:
    """Answers with the next behaviour, and with 204 when there is none left."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    script: list[Behaviour] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = first.split()[1]
            self.requests.append(Received(path=path, headers=headers, body=body))
            behaviour = self.script.pop(0) if self.script else status(204)
            await behaviour(reader, writer)
        writer.close()


def status(code: int, **headers: str) -> Behaviour:
    """Answers with this status."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        extra = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        writer.write(f"HTTP/1.1 {code} so\r\n{extra}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()

    return answer


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Says nothing until the other side goes."""
    await reader.read()


async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes without a word."""
    writer.close()


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body that never ends."""
    writer.write(b"HTTP/1.1 200 so\r\nContent-Length: 999999999999\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    receiver.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?key=url-secret"
    try:
        yield receiver
    finally:
        server.close()


def verified(request: Received, secret: str, *, now: int, tolerance_s: int = 300) -> bool:
    """Whether a message is what it says, as the specification of Standard Webhooks has it.

    Written from that text alone, so that the signing side has nothing to agree with but the text:
    the secret is base64 behind `whsec_`; what is signed is id, timestamp and body with full stops
    between; the header is a list of version and signature; any that fits will do.
    """
    given = request.headers
    stamp = int(given["webhook-timestamp"])
    if abs(now - stamp) > tolerance_s:
        return False
    key = base64.b64decode(secret.split("_", 1)[1])
    content = b".".join([given["webhook-id"].encode(), str(stamp).encode(), request.body])
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    return any(
        version == "v1" and hmac.compare_digest(text.encode(), expected)
        for version, _, text in (
            entry.partition(",") for entry in given["webhook-signature"].split(" ")
        )
    )
