"""From a designer's PDF to cards that outlive it, over HTTP, with real cards.

Proves PSM-005, PSM-008, PSM-017, PSM-036, PSM-043.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from makeready.cards.reading import read_codes
from makeready.config import Settings
from tests.support.card_office import pressed, restaurant, shown, template
from tests.support.card_templates import settings_for, turned
from tests.support.generating import LINK
from tests.support.service import Member, error_code
from tests.support.waiting import until
from tests.support.workshop import Workshop, opened

CSV = "Номер;Зал\r\n1;Летняя веранда\r\n2а;Зал у камина\r\n".encode("cp1251")


@pytest.fixture
async def workshop(db: asyncpg.Connection, settings: Settings) -> AsyncIterator[Workshop]:
    async with opened(db, settings) as found:
        yield found


async def seated(operator: Member) -> tuple[str, list[dict[str, Any]]]:
    """A restaurant with the tables of a file."""
    where = await restaurant(operator, 0)
    answer = await operator.post(f"/restaurants/{where}/tables/import", content=CSV)
    assert answer.status_code == 200, answer.text
    return where, (await operator.get(f"/restaurants/{where}/tables")).json()["tables"]


@pytest.mark.notified
async def test_psm_036_what_was_previewed_is_what_is_made(
    operator: Member, viewer: Member, workshop: Workshop
) -> None:
    where, tables = await seated(operator)
    what = (await template(operator, turned()))["id"]
    wish = {"template_id": what, "restaurant_id": where, "table_id": tables[1]["uuid"]}
    preview = await viewer.post("/posm/preview", json=wish)
    waiting = asyncio.create_task(pressed(operator, what, wait=12, restaurant_id=where))
    claimed = (await until(workshop.cards.claim))[0]
    assert await workshop.attempt(claimed) == "ok"
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (201, "done")
    made = await shown(viewer, answer.json()["id"])
    assert (made["tables_done"], made["comment"], made["attempts"]) == (2, None, 1)
    assert all(table["is_done"] for table in made["tables"])
    cards = (await viewer.get(f"/posm/generations/{made['id']}/tables")).json()["tables"]
    assert cards[1]["sha256"] == hashlib.sha256(preview.content).hexdigest()
    assert cards[1]["evidence"]["decoded"] == [tables[1]["link"]]
    card = await viewer.get(f"/posm/generations/{made['id']}/tables/{tables[1]['uuid']}")
    assert card.content == preview.content
    assert read_codes(card.content) == [[LINK.format(uuid=tables[1]["uuid"])]]


async def test_psm_005_psm_008_cards_outlive_template_and_restaurant(
    operator: Member, viewer: Member, workshop: Workshop
) -> None:
    where, tables = await seated(operator)
    what = (await template(operator))["id"]
    made = (await pressed(operator, what, restaurant_id=where)).json()["id"]
    path = f"/posm/templates/{what}"
    assert (await operator.client.put(f"{path}/file", content=turned())).status_code == 200
    assert (await operator.client.delete(path)).status_code == 204
    assert (await operator.client.delete(f"/restaurants/{where}")).status_code == 204
    assert await workshop.attempt(await workshop.cards.one()) == "ok"
    found = await shown(viewer, made)
    assert (found["status"], found["template_name"]) == ("done", "Ёлки")
    archive = await viewer.get(f"/posm/generations/{made}/archive")
    assert archive.status_code == 200
    card = await viewer.get(f"/posm/generations/{made}/tables/{tables[0]['uuid']}")
    assert read_codes(card.content) == [[tables[0]["link"]]]
    again = await pressed(operator, what, restaurant_id=where)
    assert (again.status_code, error_code(again)) == (404, "template_not_found")


async def test_psm_043_a_press_is_created_then_scheduled_then_in_progress_then_done(
    operator: Member, viewer: Member, administrator: Member, workshop: Workshop
) -> None:
    """PSM-017, with admission under a limit of one."""
    await administrator.client.patch("/admin/posm/policy", json={"max_active": 1})
    where, _ = await seated(operator)
    what = (await template(operator))["id"]
    first = (await pressed(operator, what, restaurant_id=where)).json()
    other = await template(operator, settings=settings_for(ecc="Q"))
    second = (await pressed(operator, other["id"], restaurant_id=where)).json()
    assert (first["status"], second["status"]) == ("created", "created")

    async def states() -> list[str]:
        return [(await shown(viewer, each["id"]))["status"] for each in (first, second)]

    assert await states() == ["scheduled", "created"]
    claimed = await workshop.cards.one()
    assert claimed.job.id == UUID(first["id"])
    assert await states() == ["in-progress", "created"]
    assert await workshop.attempt(claimed) == "ok"
    assert await states() == ["done", "scheduled"]
