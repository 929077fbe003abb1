"""Files for the tests of media stores."""

from __future__ import annotations

import hashlib
from pathlib import Path

from makeready.media import MediaStore, StoredMedia
from makeready.media_folder import ID_FILE

PHOTO = bytes(range(256)) * 40
LARGE = PHOTO * 250  # 2.5 MB: several pieces of a stream


async def published(media: MediaStore, path: str, content: bytes = PHOTO) -> StoredMedia:
    """A file that came as an upload."""
    async with media.spool() as file:
        file.write(content)
        return await media.publish(
            file,
            path,
            media_type="image/jpeg",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).digest(),
        )


async def listed(media: MediaStore, prefix: str) -> list[str]:
    """The paths of the files below a prefix."""
    return [each.path async for each in media.listing(prefix)]


def left_in(root: Path) -> list[str]:
    """All files there but the folder's id."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.endswith(ID_FILE))
