"""Slots, providers and settings as staff handles them through the service."""

from __future__ import annotations

import io
from typing import Any

import httpx2
from PIL import Image

from tests.support.service import Member

KEY = "sk-tests-0123456789"
"""A provider's key: no answer, log or table ever holds it."""


def picture(kind: str = "JPEG", colour: tuple[int, int, int] = (180, 90, 40)) -> bytes:
    """A small image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, kind)
    return file.getvalue()


async def put(staff: Member, path: str, body: Any, **options: Any) -> httpx2.Response:
    """PUT as this member."""
    return await staff.client.put(path, json=body, **options)


async def put_slot(staff: Member, slot: str = "slot-001", /, **changes: Any) -> httpx2.Response:
    """Saves a slot as it was read, but for the changes."""
    before = (await staff.get(f"/api/slots/{slot}")).json()
    names = ("name", "provider_id", "operation_id", "settings_json", "updated_at")
    return await put(staff, f"/api/slots/{slot}", {name: before[name] for name in names} | changes)


async def register(
    staff: Member,
    slot: str = "slot-001",
    key: str = "frame",
    content: bytes | None = None,
    **fields: str,
) -> httpx2.Response:
    """Uploads an image of a slot."""
    return await staff.post(
        "/api/template-media/register",
        data={"slot_id": slot, "setting_key": key, **fields},
        files={"file": ("рамка.png", content or picture(), "application/octet-stream")},
    )


def problems(answer: httpx2.Response) -> list[tuple[str, str]]:
    """Code and path of all that a 422 names."""
    assert answer.status_code == 422, answer.text
    return [(each["code"], each["path"]) for each in answer.json()["error"]["details"]]
