"""Takes a form with one large file by the service's own reader."""

from __future__ import annotations

from starlette.requests import Request

from makeready.ingest import Door
from makeready.media import MediaStore
from makeready_http.photo_upload import received_photo

MOST = 2 << 30


async def received(request: Request, media: MediaStore) -> int:
    """The size of the file, which lies in the folder of photos for a moment."""
    door = Door(
        slot="slot-001",
        max_bytes=MOST,
        max_pixels=100_000_000,
        media_types=("image/jpeg",),
        password_hash=None,
        password_version=1,
        min_free_bytes=0,
    )

    async def let_in(_: str) -> None:
        return

    async with received_photo(request, store=media, limits=door, check_password=let_in) as photo:
        stored = await media.publish(
            photo.file,
            "payloads/bench/photo.jpg",
            media_type=photo.media_type,
            size_bytes=photo.size_bytes,
            sha256=photo.sha256,
        )
    await media.delete([stored.path])
    return stored.size_bytes
