"""One photo in work: its payload, what each provider gets of it, the link for those that fetch.

What is prepared is prepared once for all providers that take the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import IO, TypedDict

import asyncpg

from makeready import ingest, picture_work
from makeready.errors import LeaseLost
from makeready.ingest import Begun, Step
from makeready.jobs import Lease
from makeready.media import MediaStore
from makeready.photo_kinds import KINDS
from makeready.picture_work import PictureUnfit, Prepared
from makeready.pictures import EXTENSIONS
from makeready.pictures_aside import holds_lock, prepared_aside
from makeready_workers.picture_threads import in_thread
from makeready_workers.providers.base import Image, ProviderFailed, Task
from makeready_workers.providers.local import LOCAL

AS_IT_IS_MAX_BYTES = 64 << 20  # what works here reads the photo itself, unless it is larger
TEMPLATES_MAX_BYTES = 64 << 20  # of one photo, in memory


class Photo:
    """A photo whose payload is at hand as a file."""

    def __init__(
        self,
        lease: Lease,
        begun: Begun,
        file: IO[bytes],
        *,
        pool: asyncpg.Pool,
        media: MediaStore,
        public_url: str | None,
        forget: Callable[[str], None],
    ) -> None:
        self.lease = lease
        self.begun = begun
        self.file = file
        self._pool = pool
        self._media = media
        self._public_url = public_url
        self._forget = forget
        self._images: dict[tuple[object, ...], Image] = {}
        self._templates: dict[str, Image] | None = None

    async def task(self, step: Step) -> Task:
        """What a provider is asked; raises ProviderFailed for a photo that cannot be prepared."""
        return Task(
            job_id=self.lease.job_id,
            operation=step.operation,
            settings=step.settings,
            photo=await self._image(step),
            templates=await self._read_templates(),
        )

    async def link(self, step: Step) -> str:
        """Publishes what this provider gets, until the photo's deadline, and returns the link."""
        if self._public_url is None:
            text = "it fetches photos by a link: PUBLIC_BASE_URL has to be set"
            raise ProviderFailed("rejected", text)
        image = await self._image(step)
        path = f"payloads/{self.lease.job_id}/prepared.{EXTENSIONS[image.media_type]}"
        try:
            stored = await self._media.write(path, image.content, image.media_type)
            await ingest.offer(self._pool, self.lease.job_id, self.lease.token, stored)
        except BaseException as error:
            self._forget(path)  # nobody else would know of it
            if isinstance(error, LeaseLost) or not isinstance(error, Exception):
                raise
            text = f"the photo could not be published for it: {type(error).__name__}"
            raise ProviderFailed("upstream", text) from error
        return f"{self._public_url.rstrip('/')}/public/media/{self.begun.public_id}"

    async def _image(self, step: Step) -> Image:
        payload, kind = self.begun.payload, KINDS[step.kind]
        if step.kind == LOCAL and payload.size_bytes <= AS_IT_IS_MAX_BYTES:
            content = await self._media.read(payload)
            return Image(content=content, media_type=payload.media_type)
        most = min(step.options.get("max_input_bytes", kind.max_input_bytes), kind.max_input_bytes)
        side = step.options.get("max_side", picture_work.MAX_SIDE)
        key = (kind.media_types, most, side)
        if key not in self._images:
            self._images[key] = await self._prepared(kind.media_types, most, side)
        return self._images[key]

    async def _prepared(self, media_types: tuple[str, ...], most: int, side: int) -> Image:
        bounds = Bounds(media_types=media_types, max_bytes=most, max_side=side)
        try:
            prepared = await in_thread(functools.partial(_prepared_here, self.file, bounds))
            if prepared is None:
                content = await in_thread(functools.partial(picture_work.whole, self.file))
                prepared = await prepared_aside(content, **bounds)
        except PictureUnfit as error:
            raise ProviderFailed("rejected", f"the photo cannot be prepared: {error}") from error
        return Image(content=prepared.content, media_type=prepared.media_type)

    async def _read_templates(self) -> Mapping[str, Image]:
        if self._templates is None:
            found = self.begun.templates
            if sum(each.size_bytes for each in found.values()) > TEMPLATES_MAX_BYTES:
                raise ProviderFailed("rejected", "the template media of the slot are too large")
            read = {}
            for key, stored in found.items():
                try:
                    content = await self._media.read(stored)
                except FileNotFoundError as error:
                    text = f"the template media {key} of the slot are gone: upload them again"
                    raise ProviderFailed("rejected", text) from error
                read[key] = Image(content=content, media_type=stored.media_type)
            self._templates = read
        return self._templates


class Bounds(TypedDict):
    """What a provider takes."""

    media_types: tuple[str, ...]
    max_bytes: int
    max_side: int


def _prepared_here(file: IO[bytes], bounds: Bounds) -> Prepared | None:
    """None: its decoder would hold up the event loop."""
    return None if holds_lock(file) else picture_work.prepare(file, **bounds)
