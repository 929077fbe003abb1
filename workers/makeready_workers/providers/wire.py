"""One exchange with a provider: bounded in time and bytes, and silent about what it carried.

No redirect is followed, since it would take the key along. Whatever goes wrong on the way becomes
a ProviderFailed whose text names neither address nor key: what aiohttp says may hold both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp

from makeready import __version__
from makeready_workers.posting import AddressRefused, checked_socket, near_socket
from makeready_workers.providers.base import IMAGE_MAX_BYTES, Call, ProviderFailed
from makeready_workers.providers.bodies import Body

REQUEST_TIMEOUT_S = 30.0
ANSWER_MAX_BYTES = IMAGE_MAX_BYTES // 3 * 4 + (1 << 20)
CANCEL_TIMEOUT_S = 2.0
CONNECTIONS = 64
POLL_FAILURES = 3  # in a row: what was asked for is being made, and paid for

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytearray

    @property
    def media_type(self) -> str:
        """As it says, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def new_session(*, private: bool) -> AsyncIterator[aiohttp.ClientSession]:
    """What providers are spoken with through: no cookie, no proxy, nothing is unpacked.

    Unless private it connects to public addresses alone, as they are at the moment of connecting.
    """
    connector = aiohttp.TCPConnector(
        limit=CONNECTIONS, socket_factory=near_socket if private else checked_socket
    )
    async with aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"Makeready/{__version__}"},
        trust_env=False,
    ) as session:
        yield session


async def exchange(
    call: Call,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: Body | None = None,
    most: int = ANSWER_MAX_BYTES,
) -> Answer:
    """The answer to one request, whatever its status; raises ProviderFailed when there is none."""
    timeout_s = time_for(call)
    own = {"Accept-Encoding": "identity"}
    if body is not None:
        own |= {"Content-Type": body.media_type, "Content-Length": str(body.size)}
    try:
        async with call.http.request(
            method,
            url,
            headers=own | dict(headers or {}),
            data=None if body is None else body.stream(),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, found, await _read(response, most))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise lost(error, timeout_s) from None  # its text names the address


async def _read(response: aiohttp.ClientResponse, most: int) -> bytearray:
    content = bytearray()
    if (response.content_length or 0) > most:
        raise _too_large(most)
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > most:
            raise _too_large(most)
    return content


def _too_large(most: int) -> ProviderFailed:
    return ProviderFailed("invalid_response", f"its answer is larger than {most} bytes")


def time_for(call: Call) -> float:
    """Seconds that one request may take; raises when none are left."""
    left = call.seconds_left
    if left <= 0:
        raise ProviderFailed("upstream", "the time was up")
    return min(float(call.options.get("request_timeout_s", REQUEST_TIMEOUT_S)), left)


def lost(error: Exception, timeout_s: float) -> ProviderFailed:
    """What it means that there is no answer."""
    may_retry = True
    if isinstance(error, TimeoutError):
        text = f"it did not answer within {timeout_s:g} s"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        text = "its name leads to no address"
    elif isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        text, may_retry = "its certificate or TLS cannot be trusted", False
    elif isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, AddressRefused)
        text = "its address is not public" if refused else "it takes no connection"
        may_retry = not refused
    elif isinstance(error, aiohttp.InvalidURL | ValueError):
        text, may_retry = "its address or a header cannot be sent", False
    else:
        text = "it broke the connection, or what it said is no HTTP"
    return ProviderFailed("upstream", text, may_retry=may_retry)


async def polled(
    call: Call, ask: Callable[[], Awaitable[Found | None]], *, first_s: float, every_s: float
) -> Found:
    """What `ask` finds at last; a few polls may fail on the way. Ends before the deadline."""
    pause, failures = first_s, 0
    for _ in range(int(call.options.get("max_polls", 1000))):
        if call.seconds_left <= pause:
            break
        await asyncio.sleep(pause)
        pause = every_s
        try:
            found = await ask()
        except ProviderFailed as failed:
            failures += 1
            if not failed.may_retry or failures >= POLL_FAILURES:
                raise
            pause = max(every_s, failed.retry_after_s or 0)
            continue
        failures = 0
        if found is not None:
            return found
    raise ProviderFailed("upstream", "it was not done in time")


async def best_effort(asking: Awaitable[object]) -> None:
    """Waits for something that nobody depends on, for two seconds at most."""
    with suppress(ProviderFailed, aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(CANCEL_TIMEOUT_S):
            await asking


def briefly(call: Call) -> Call:
    """The same call with two seconds, for what is done when its own time is up."""
    now = asyncio.get_running_loop().time()
    return replace(call, deadline=now + CANCEL_TIMEOUT_S)


def base_url(call: Call, default: str) -> str:
    """Where the API is, without a stroke at the end."""
    return str(call.options.get("base_url", default)).rstrip("/")


def authorization(call: Call, scheme: str = "Bearer") -> dict[str, str]:
    """The header that carries the key; none without a key."""
    return {} if call.key is None else {"Authorization": f"{scheme} {call.key.reveal()}"}
