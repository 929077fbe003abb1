"""Opens the media store that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from makeready.config import Settings
from makeready.media import MediaStore
from makeready.media_bucket import BucketStore
from makeready.media_folder import SPOOL, made_spool, open_folder
from makeready.storage import Storage


@asynccontextmanager
async def open_media(settings: Settings, storage: Storage) -> AsyncIterator[MediaStore]:
    """The store; raises OSError when the folder cannot be used. Nothing is sent to the bucket."""
    root = settings.media_folder
    if settings.media_store == "bucket":
        yield BucketStore(storage, await made_spool(root / SPOOL))
    else:
        yield await open_folder(root)
