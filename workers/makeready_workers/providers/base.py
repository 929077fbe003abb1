"""What a provider is to the rest: it takes a prepared photo and gives one back, or says why not.

A provider tries once; retries, other keys and other providers are the business of the chain. It
never outlives its call: what it starts ends with it, also when it is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias
from uuid import UUID

import aiohttp

from makeready.jobs import Json
from makeready.values import Secret

Reason: TypeAlias = Literal["rejected", "quota", "upstream", "invalid_response", "no_image"]
IMAGE_MAX_BYTES = 64 << 20  # of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in memory."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is asked of a provider."""

    job_id: UUID
    operation: str
    settings: Json
    """Of the slot; they fit the schema of the operation in `makeready.photo_kinds`."""
    photo: Image
    """Turned upright, without metadata, no larger than the provider takes."""
    templates: Mapping[str, Image]
    """Template media by setting key."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One try: with what, how long, and what is noted of it."""

    http: aiohttp.ClientSession
    """Of `wire.new_session`: private only when the options say so."""
    options: Json
    """Of the provider: base_url and what else its kind knows."""
    key: Secret | None
    deadline: float
    """By the event loop's clock: the share of the window that this try may use."""
    public_url: Callable[[], Awaitable[str]]
    """Publishes the photo for this provider until the job's deadline; returns the link."""
    notes: dict[str, Any] = field(default_factory=dict)
    """For the processing log: provider_reference, http_status, model, finish_reason, cost; short
    scalars, and never a key, a link or image bytes."""

    @property
    def seconds_left(self) -> float:
        """Until the deadline; negative when it has passed."""
        return self.deadline - asyncio.get_running_loop().time()


class ProviderFailed(Exception):
    """A try that brought no image.

    `reason` goes to the client; the text (at most 2,048 characters, no secrets) to the log.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        may_retry: bool = False,
        retry_after_s: float | None = None,
        key_is_bad: bool = False,
    ) -> None:
        super().__init__(message[:2048])
        self.reason: Reason = reason
        self.may_retry = may_retry
        """The same provider may bring an image yet."""
        self.retry_after_s = retry_after_s
        """What it said; None: nothing, the chain's own pause holds."""
        self.key_is_bad = key_is_bad
        """Refused or used up: another key may do."""


class Provider(Protocol):
    """One kind of provider; has no state between calls, any number of calls run at a time."""

    async def process(self, task: Task, call: Call) -> Image:
        """The changed image, whatever its size; polls for it until `call.deadline` nears.

        Raises ProviderFailed, aiohttp.ClientError, OSError and TimeoutError: the chain sorts them.
        """

    async def cancel(self, call: Call) -> None:
        """Tells the other side, best effort, that `call.notes["provider_reference"]` is not wanted
        any more; at most two seconds, raises nothing that matters.
        """

    async def ping(self, call: Call) -> None:
        """Raises when the other side cannot be reached with this key; asks for nothing billed."""
