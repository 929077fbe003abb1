"""Long work on pictures in two helper processes: frames, filters, and what WebP unfolds to.

Much of it holds the interpreter lock, and none of it can be stopped once a thread has begun: one
photo would hold up the event loop, and a filter of sixteen steps all other photos. A helper has a
bound in memory and in time, and is killed when nobody waits for it any more. Small pictures are
not worth the way there: `is_long` tells.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any

from makeready.aside import Helper, HelperLost, packed, unpacked
from makeready.picture_work import PictureUnfit, Prepared
from makeready.pictures import WEBP, BadPicture, look

LONG_PIXELS = 1_000_000
ASIDE_TIMEOUT_S = 20.0
"""Less than half of what a booth waits: two that take too long leave time to those behind them."""
_AT_ONCE = 2


def is_long(file: IO[bytes], *, only: str | None = None) -> bool:
    """Whether work on a picture belongs aside; with `only` no other type of picture does."""
    try:
        facts = look(file)
    except BadPicture:
        return False  # it is refused soon enough
    return facts.width * facts.height > LONG_PIXELS and only in (None, facts.media_type)


def holds_lock(file: IO[bytes]) -> bool:
    """Whether a picture is decoded by a library that does not let the interpreter's lock go."""
    return is_long(file, only=WEBP)


async def framed_aside(
    photo: bytes, template: bytes, settings: Mapping[str, Any], max_side: int
) -> Prepared:
    """See `picture_local.framed`; raises PictureUnfit also for what takes too long."""
    asked = {"do": "framed", "settings": dict(settings), "max_side": max_side}
    return await _made(asked, [photo, template])


async def filtered_aside(photo: bytes, settings: Mapping[str, Any], max_side: int) -> Prepared:
    """See `picture_local.filtered`; raises PictureUnfit also for what takes too long."""
    asked = {"do": "filtered", "settings": dict(settings), "max_side": max_side}
    return await _made(asked, [photo])


async def prepared_aside(
    photo: bytes, *, media_types: Collection[str], max_bytes: int, max_side: int
) -> Prepared:
    """See `picture_work.prepare`; raises PictureUnfit also for what takes too long."""
    asked = {"do": "prepare", "media_types": list(media_types)}
    return await _made({**asked, "max_bytes": max_bytes, "max_side": max_side}, [photo])


async def thumbnail_aside(picture: bytes) -> bytes:
    """See `picture_work.thumbnail`; raises PictureUnfit also for what takes too long."""
    _, files = await _ask({"do": "thumbnail"}, [picture])
    return files[0]


async def close() -> None:
    """Ends the helpers; the next question starts others."""
    for helper in _helpers():
        await helper.close()
    _helpers.cache_clear()


async def _made(asked: dict[str, Any], files: Sequence[bytes]) -> Prepared:
    head, found = await _ask(asked, files)
    return Prepared(content=found[0], **head)


async def _ask(
    asked: dict[str, Any], files: Sequence[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    async with _turn() as helper:
        try:
            answer = await helper.ask(packed(asked, files), timeout_s=ASIDE_TIMEOUT_S)
        except TimeoutError:
            raise PictureUnfit(f"it takes longer than {ASIDE_TIMEOUT_S:g} s") from None
        except HelperLost:
            raise PictureUnfit("it takes too much memory, or a library broke on it") from None
    head, found = unpacked(answer)
    if "unfit" in head:
        raise PictureUnfit(head["unfit"])
    return head, found


@asynccontextmanager
async def _turn() -> AsyncIterator[Helper]:
    """The helper with the shorter line before it."""
    helpers = _helpers()
    helper = min(helpers, key=lambda each: helpers[each])
    helpers[helper] += 1
    try:
        yield helper
    finally:
        helpers[helper] -= 1


@functools.cache
def _helpers() -> dict[Helper, int]:
    """Each with how many have asked it and wait."""
    program = "from makeready.picture_program import main; main()"
    return {Helper(program): 0 for _ in range(_AT_ONCE)}
