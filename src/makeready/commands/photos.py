"""Posts photos as a booth does, looks at what comes back, and at what must be refused.

What `makeready demo` and `makeready smoke ingest` do once there is a service.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from anyio import to_thread
from PIL import Image

from makeready.commands import booth_sample
from makeready.commands.booth import BoothAnswer, post_photo
from makeready.commands.packs import Say
from makeready.commands.service import Client, ServiceError
from makeready.commands.table import text_table

SLOT = "slot-001"
PHOTOS = 4
PARTS = ("upload", "admit", "claim", "prepare", "provider", "finalise", "answer")
WRONG_PASSWORD = "surely-not-the-password"  # noqa: S105 -- to be refused


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotosMade:
    """What came back."""

    path: Path
    answers: list[BoothAnswer]
    size: tuple[int, int]
    refused: Mapping[str, int] = field(default_factory=dict)
    """What was refused as it should be, with its status."""


async def set_up_frame(client: Client, say: Say) -> None:
    """Has the slot put guests into a frame, as staff would; the client is an operator."""
    form = aiohttp.FormData()
    overlay = await to_thread.run_sync(booth_sample.overlay)
    form.add_field("file", overlay, filename="frame.png", content_type="image/png")
    for name, value in {
        "slot_id": SLOT,
        "setting_key": "frame",
        "label": "Ёлки",
        "replace": "true",
    }.items():
        form.add_field(name, value)
    await client.call("POST", "/api/template-media/register", form=form)
    slot = await client.get(f"/api/slots/{SLOT}")
    wanted = {
        "name": "Ёлки",
        "provider_id": "local",
        "operation_id": "frame",
        "settings_json": {"layer": "overlay", "quality": 92},
        "updated_at": slot["updated_at"],
    }
    await client.put(f"/api/slots/{SLOT}", wanted)
    say(f"{SLOT} puts guests into a frame")


async def make_photos(
    client: Client, password: str, folder: Path, say: Say, *, slot: str = SLOT
) -> PhotosMade:
    """Photos that are answered and requests that are refused; ServiceError for anything else."""
    photo = await to_thread.run_sync(booth_sample.photo)
    answers = [_answered(await post_photo(client, slot, password, photo))]
    say(f"a photo came back in {answers[0].seconds * 1000:.0f} ms")
    crowd = (post_photo(client, slot, password, photo) for _ in range(PHOTOS))
    answers += [_answered(answer) for answer in await asyncio.gather(*crowd)]
    say(f"{PHOTOS} more at the same time")
    size = await to_thread.run_sync(_size, answers[0].body)
    kind = answers[0].headers["Content-Type"].partition("/")[2]
    path = folder / f"photo.{kind.replace('jpeg', 'jpg')}"
    path.write_bytes(answers[0].body)
    await _kept(client, answers[0])
    refused = await _refused(client, slot, password, photo)
    say(f"{len(refused)} requests refused as they should be")
    return PhotosMade(path=path, answers=answers, size=size, refused=refused)


def photos_table(made: PhotosMade) -> str:
    """Where the time went."""
    rows = [
        [
            f"{answer.seconds * 1000:.0f} ms",
            *(f"{answer.timing.get(part, 0.0):.1f}" for part in PARTS),
        ]
        for answer in made.answers
    ]
    width, height = made.size
    text = f"{len(made.answers)} photos of {width} × {height}, each answered in its own request."
    return f"{text_table(['photo', *PARTS], rows)}\n\n{text}"


def _answered(answer: BoothAnswer) -> BoothAnswer:
    if answer.status != 200:
        raise ServiceError(f"a photo was answered {answer.status}: {answer.body[:500]!r}")
    if answer.headers.get("Cache-Control") != "no-store" or "X-Job-Id" not in answer.headers:
        raise ServiceError("an answer lacks X-Job-Id, or may be kept by a cache")
    return answer


def _size(body: bytes) -> tuple[int, int]:
    """Of an image that can be read to its end."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            image.load()
            return image.size
    except (OSError, ValueError) as error:
        raise ServiceError(f"what came back is no image: {error}") from None


async def _kept(client: Client, answer: BoothAnswer) -> None:
    """The result can be fetched again by whoever has its link."""
    path = f"/public/results/{answer.headers['X-Job-Id']}"
    if await client.fetch(path) != answer.body:
        raise ServiceError(f"{path} is not what the booth got")


async def _refused(client: Client, slot: str, password: str, photo: bytes) -> dict[str, int]:
    """Requests that must fail, by code; ServiceError when one is answered otherwise."""
    tries = {
        "slot_not_found": (404, await post_photo(client, "slot-999", password, photo)),
        "invalid_credentials": (401, await post_photo(client, slot, WRONG_PASSWORD, photo)),
        "invalid_request": (400, await post_photo(client, slot, password, None)),
        "unsupported_media_type": (
            415,
            await post_photo(client, slot, password, b"<svg/>" * 100),
        ),
    }
    for code, (status, answer) in tries.items():
        said = _code(answer)
        if answer.status != status or said != code:
            raise ServiceError(f"{status} {code} was to come, not {answer.status} {said}")
    return {code: status for code, (status, _) in tries.items()}


def _code(answer: BoothAnswer) -> str:
    try:
        return str(json.loads(answer.body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "no error"
