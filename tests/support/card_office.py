"""Templates and generations of cards as staff makes them over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx2

from tests.support.card_templates import light, settings_for
from tests.support.generating import Cardroom
from tests.support.service import Member, error_code


def form(meta: Mapping[str, Any], pdf: bytes) -> dict[str, Any]:
    """What POST /posm/templates takes."""
    return {
        "pdf": ("карточка.pdf", pdf, "application/pdf"),
        "meta": (None, json.dumps(meta), "application/json"),
    }


async def sent(
    member: Member, pdf: bytes | None = None, *, headers: Any = None, **meta: Any
) -> httpx2.Response:
    """The answer to a template; with settings that fit unless `settings` is None."""
    said = {"name": "Ёлки", "settings": settings_for(), **meta}
    if said["settings"] is None:
        del said["settings"]
    files = form(said, light() if pdf is None else pdf)
    return await member.post("/posm/templates", files=files, headers=headers)


async def template(member: Member, pdf: bytes | None = None, **meta: Any) -> dict[str, Any]:
    """A new template."""
    answer = await sent(member, pdf, **meta)
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["template"])


async def restaurant(member: Member, tables: int = 3, **facts: Any) -> str:
    """A new restaurant with so many tables."""
    made = await member.post("/restaurants", json={"name": "Ёлки", "city": "Казань", **facts})
    assert made.status_code == 201, made.text
    found = str(made.json()["restaurant"]["id"])
    if tables:
        await seated(member, found, *map(str, range(1, tables + 1)))
    return found


async def seated(member: Member, of: str, *numbers: str) -> dict[str, str]:
    """Gives a restaurant these tables; the uuids of all that it then has, by number."""
    body = {"tables": [{"number": number} for number in numbers]}
    answer = await member.client.put(f"/restaurants/{of}/tables", json=body)
    assert answer.status_code == 200, answer.text
    found = (await member.get(f"/restaurants/{of}/tables")).json()["tables"]
    return {table["number"]: table["uuid"] for table in found}


async def pressed(
    member: Member, template_id: str, *, key: str = "", wait: int = 0, **wish: Any
) -> httpx2.Response:
    """The answer to a press of the button, under a new key unless it is named."""
    headers = {"Idempotency-Key": key or uuid4().hex}
    if wait:
        headers["Prefer"] = f"wait={wait}"
    body = {"template_id": template_id, **wish}
    return await member.post("/posm/generations", json=body, headers=headers)


async def shown(member: Member, generation: str, query: str = "") -> dict[str, Any]:
    """A generation."""
    found = await member.get(f"/posm/generations/{generation}{query}")
    assert found.status_code == 200, found.text
    return dict(found.json())


async def done(cardroom: Cardroom, generation: str) -> None:
    """Makes its cards, as far as the database knows."""
    claimed = await cardroom.one()
    assert claimed.job.id == UUID(generation)
    assert await cardroom.make(claimed) == "ok"


def found_in(answer: Any) -> dict[str, str]:
    """Codes of the errors of a refusal, by their path."""
    assert (answer.status_code, error_code(answer)) == (422, "validation_failed"), answer.text
    details = answer.json()["error"]["details"]
    return {each["path"]: each["code"] for each in details if each.get("level") != "warning"}
