"""Posts a message to a program elsewhere, and trusts it in nothing.

One attempt, within a time limit: no redirect is followed, no cookie kept, no proxy asked, the body
of the answer is not read. The address is judged at the moment of connecting, so a name that leads
somewhere else the second time gains nothing. What is raised never names the URL: it may hold a
secret.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from makeready import __version__
from makeready.addresses import is_near, is_public

CONNECTIONS = 16
RETRY_AFTER_MAX_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver said."""

    status: int
    ms: float
    retry_after_s: float | None = None

    @property
    def is_taken(self) -> bool:
        """Whether it took the message: any 2xx, nothing else."""
        return 200 <= self.status <= 299


class PostFailed(Exception):
    """There was no answer; `code` says why."""

    def __init__(self, code: str, text: str, *, ms: float) -> None:
        super().__init__(text)
        self.code = code
        self.ms = ms


class AddressRefused(OSError):
    """The address is not public."""

    def __init__(self) -> None:
        super().__init__("the address is not one of the public Internet")


class Poster:
    """Posts with one session; made by `open_poster`, safe to use from many tasks."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(
        self, url: str, body: str, headers: Mapping[str, str], *, timeout_s: float
    ) -> Answer:
        """The receiver's answer to this JSON text; raises PostFailed."""
        started = time.monotonic()
        try:
            async with self._session.post(
                url,
                data=body.encode(),
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                return Answer(
                    status=response.status,
                    ms=_ms(started),
                    retry_after_s=retry_after(response.headers.get("Retry-After")),
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            code, text = _why(error, timeout_s)
            raise PostFailed(code, text, ms=_ms(started)) from None  # its text names the URL


@asynccontextmanager
async def open_poster(*, private: bool) -> AsyncIterator[Poster]:
    """Opens a session; `private` lets it connect to addresses of one's own network."""
    connector = aiohttp.TCPConnector(
        limit=CONNECTIONS,
        force_close=True,  # each attempt looks the name up anew and is judged anew
        use_dns_cache=False,
        socket_factory=None if private else checked_socket,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": f"Makeready/{__version__}"},
    ) as session:
        yield Poster(session)


def retry_after(text: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, at most a day; None: nothing readable."""
    if text is None:
        return None
    if text.strip().isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max((when - datetime.now(UTC)).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def checked_socket(place: tuple[Any, ...]) -> socket.socket:
    """A socket for an address that was resolved and is about to be connected to."""
    family, kind, protocol, _, address = place
    if not is_public(str(address[0])):
        raise AddressRefused
    return socket.socket(family, kind, protocol)


def near_socket(place: tuple[Any, ...]) -> socket.socket:
    """The same where addresses of one's own network are allowed."""
    family, kind, protocol, _, address = place
    if family in (socket.AF_INET, socket.AF_INET6) and not is_near(str(address[0])):
        raise AddressRefused
    return socket.socket(family, kind, protocol)


def _why(error: Exception, timeout_s: float) -> tuple[str, str]:
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "TIMEOUT", f"it did not answer within {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, AddressRefused
    ):
        return "ADDRESS_REFUSED", str(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "NO_ADDRESS", "its name leads to no address"
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        return "TLS_ERROR", "its certificate or TLS cannot be trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "NO_CONNECTION", "it takes no connection"
    if isinstance(error, (aiohttp.InvalidURL, ValueError)):
        return "INVALID_URL", "its address cannot be read"
    return "NO_ANSWER", "it broke the connection, or what it said is no HTTP"


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
