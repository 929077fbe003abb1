"""Generations of table cards over HTTP: the press of the button.

Proves PSM-005, PSM-008, PSM-009, PSM-010, PSM-011, PSM-012, PSM-013, PSM-014, PSM-015, PSM-016,
PSM-043.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import posm_templates
from makeready.leases import Claimed
from makeready_http import posm_pressing
from tests.http.conftest import MakeMember
from tests.support.card_office import done, pressed, restaurant, seated, shown, template
from tests.support.card_templates import settings_for, turned
from tests.support.generating import LINK, Cardroom
from tests.support.service import Member, error_code
from tests.support.waiting import until

LONG = "летняя веранда с видом на реку, 12"

pytestmark = pytest.mark.usefixtures("cardroom")  # links of tables lead somewhere


def strict() -> dict[str, Any]:
    """Settings whose label has no room for LONG."""
    settings = settings_for()
    settings["fields"][1]["min_size"] = 18
    return settings


async def due(cardroom: Cardroom) -> Claimed:
    """The next generation that is due, once there is one."""
    return (await until(cardroom.claim))[0]


def problems(answer: Any) -> list[tuple[str, str]]:
    assert (answer.status_code, error_code(answer)) == (422, "validation_failed"), answer.text
    return [(each["path"], each["code"]) for each in answer.json()["error"]["details"]]


async def test_psm_009_psm_010_a_press_asks_for_all_tables_and_returns_at_once(
    operator: Member, viewer: Member, db: asyncpg.Connection
) -> None:
    """PSM-043: without waiting the answer says `created`; it is admitted at once."""
    where, what = await restaurant(operator), (await template(operator))["id"]
    answer = await pressed(operator, what, restaurant_id=where)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["version"], made["status"]) == (1, "created")
    assert answer.headers["location"] == f"/posm/generations/{made['id']}"
    found = await shown(viewer, made["id"])
    assert (found["status"], found["author"], found["scope"]) == ("scheduled", "operator", "all")
    assert (found["tables_total"], found["tables_done"], found["comment"]) == (3, 0, None)
    assert [table["number"] for table in found["tables"]] == ["1", "2", "3"]
    assert found["tables"][0]["url"] == LINK.format(uuid=found["tables"][0]["uuid"])
    assert not any(table["is_done"] for table in found["tables"])
    assert "tables" not in await shown(viewer, made["id"], "?tables=false")
    audited = await db.fetchrow(
        "select actor, after::text from makeready.audit_log where target = $1", made["id"]
    )
    assert audited is not None
    assert audited["actor"].startswith("operator")
    assert json.loads(audited["after"])["tables"] == 3


async def test_psm_009_chosen_tables_new_ones_or_bare_uuids(
    operator: Member, cardroom: Cardroom
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    uuids = await seated(operator, where, "1", "2", "3")
    chosen = [uuids["3"], uuids["1"]]
    some = (await pressed(operator, what, restaurant_id=where, table_ids=chosen)).json()
    found = await shown(operator, some["id"])
    assert [table["number"] for table in found["tables"]] == ["1", "3"]
    assert found["scope"] == "chosen"
    await done(cardroom, some["id"])
    new = (await pressed(operator, what, restaurant_id=where, since_version=1)).json()
    found = await shown(operator, new["id"])
    assert (new["version"], [table["number"] for table in found["tables"]]) == (2, ["2"])
    bare = [str(uuid4()), {"uuid": str(uuid4()), "label": "VIP", "section": "Зал"}]
    answer = await pressed(operator, what, uuids=bare)
    assert answer.status_code == 201, answer.text
    found = await shown(operator, answer.json()["id"])
    assert (found["restaurant_id"], found["scope"]) == (None, "uuids")
    assert [table["number"] for table in found["tables"]] == ["1", "VIP"]
    assert found["tables"][0]["uuid"] == bare[0]


async def test_rows_of_bare_uuids_hold_texts_and_numbers(operator: Member) -> None:
    settings = settings_for()
    settings["fields"][1]["value"] = "{row.гость}"
    what = (await template(operator, settings=settings))["id"]
    values: list[Any] = ["Анна", 7, None, [1], True, {}]
    uuids = [{"uuid": str(uuid4()), "row": {"гость": value}} for value in values]
    answer = await pressed(operator, what, uuids=uuids)
    assert problems(answer) == [(f"uuids[{place}].row.гость", "wrong_type") for place in (3, 4, 5)]
    assert (await pressed(operator, what, uuids=uuids[:3])).status_code == 201


async def test_psm_011_settings_may_be_brought_and_the_template_keeps_its_own(
    operator: Member,
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    own = settings_for(ecc="Q")
    made = (await pressed(operator, what, restaurant_id=where, settings=own)).json()
    assert (await shown(operator, made["id"]))["settings"] == own
    kept = (await operator.get(f"/posm/templates/{what}")).json()["template"]["settings"]
    assert kept == settings_for()


async def test_psm_012_the_same_press_is_answered_with_the_same_generation(
    operator: Member, staff: MakeMember
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    first = await pressed(operator, what, key="one", restaurant_id=where)
    await operator.client.delete(f"/posm/templates/{what}")  # a press is known for ever
    again = await pressed(operator, what, key="one", restaurant_id=where)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["status"] == "scheduled"
    other = await pressed(operator, what, key="one", restaurant_id=where, settings=settings_for())
    assert (other.status_code, error_code(other)) == (422, "idempotency_mismatch")
    boris = await staff("operator", name="boris")
    theirs = await pressed(boris, what, key="one", restaurant_id=where)  # a key of their own
    assert error_code(theirs) == "template_not_found"
    body = {"template_id": what, "restaurant_id": where}
    for headers in ({}, {"Idempotency-Key": "два слова".encode().hex() + " x"}):
        bad = await operator.post("/posm/generations", json=body, headers=headers)
        assert (bad.status_code, error_code(bad)) == (400, "invalid_request")
        assert bad.json()["error"]["details"]["field"] == "Idempotency-Key"


async def test_psm_013_another_press_while_one_is_active_names_it(
    operator: Member, cardroom: Cardroom
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    first = (await pressed(operator, what, restaurant_id=where)).json()
    second = await pressed(operator, what, restaurant_id=where)
    assert (second.status_code, error_code(second)) == (409, "already_in_progress")
    details = second.json()["error"]["details"]
    assert (details["generation_id"], details["version"]) == (first["id"], 1)
    elsewhere = await pressed(operator, what, restaurant_id=await restaurant(operator))
    assert elsewhere.status_code == 201
    claimed = await cardroom.claim()
    for each in claimed:
        await cardroom.make(each)
    third = await pressed(operator, what, restaurant_id=where)
    assert third.json()["version"] == 2


async def test_psm_014_forty_presses_at_once_make_one_generation(
    operator: Member, cardroom: Cardroom, db: asyncpg.Connection
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]

    async def press(number: int) -> tuple[int, str]:
        key = "same" if number % 2 else ""
        answer = await pressed(operator, what, key=key, restaurant_id=where)
        code = "" if answer.status_code < 300 else error_code(answer)
        return answer.status_code, code

    found = Counter(await asyncio.gather(*map(press, range(40))))
    # The one that is made has the key of twenty presses, or one that nobody else has.
    assert found.pop((201, "")) == 1
    assert found in (
        {(200, ""): 19, (409, "already_in_progress"): 20},
        {(409, "already_in_progress"): 39},
    )
    (generation,) = await db.fetch("select id, version from makeready.posm_generations")
    assert generation["version"] == 1
    await done(cardroom, str(generation["id"]))
    found = Counter(await asyncio.gather(*map(press, range(0, 40, 2))))
    assert found == {(201, ""): 1, (409, "already_in_progress"): 19}
    versions = await db.fetch("select version from makeready.posm_generations order by seq")
    assert [row["version"] for row in versions] == [1, 2]


async def test_psm_015_what_cannot_be_made_is_refused_and_leaves_nothing(
    operator: Member, db: asyncpg.Connection
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    hidden = await template(operator, visibility="brand", brand="Море")
    answers = [
        (await pressed(operator, str(uuid4()), restaurant_id=where), 404, "template_not_found"),
        (await pressed(operator, what, restaurant_id=str(uuid4())), 404, "restaurant_not_found"),
        (await pressed(operator, hidden["id"], restaurant_id=where), 403, "forbidden"),
        (await pressed(operator, hidden["id"], uuids=[str(uuid4())]), 403, "forbidden"),
    ]
    for answer, status, code in answers:
        assert (answer.status_code, error_code(answer)) == (status, code), answer.text
    empty = await pressed(operator, what, restaurant_id=await restaurant(operator, 0))
    assert problems(empty) == [("tables", "no_tables")]
    body = {"template_id": what, "restaurant_id": await restaurant(operator, 0)}
    headers = {"Idempotency-Key": "key", "Accept-Language": "ru"}
    said = await operator.post("/posm/generations", json=body, headers=headers)
    assert said.json()["error"]["message"].startswith("Столов")
    stranger = await pressed(operator, what, restaurant_id=where, table_ids=[str(uuid4())])
    assert problems(stranger) == [("table_ids", "table_not_found")]
    both = await pressed(operator, what, restaurant_id=where, uuids=[str(uuid4())])
    for odd in (both, await pressed(operator, what)):
        assert problems(odd) == [("", "validation_failed")]
        assert "restaurant_id" in odd.json()["error"]["details"][0]["hint"]
    never = await pressed(operator, what, restaurant_id=where, since_version=7)
    assert problems(never) == [("since_version", "validation_failed")]
    assert "history" in never.json()["error"]["details"][0]["hint"]
    assert await db.fetchval("select count(*) from makeready.posm_generations") == 0
    assert await db.fetchval("select count(*) from makeready.jobs where queue = 'posm'") == 0
    version = (await pressed(operator, what, restaurant_id=where)).json()["version"]
    assert version == 1  # PSM-014: what was refused took no version


async def test_settings_that_do_not_fit_the_real_tables_are_never_enqueued(
    operator: Member, db: asyncpg.Connection
) -> None:
    """PSM-015: a label of these tables does not fit, though that of the sample does."""
    where, what = (
        await restaurant(operator, 0),
        (await template(operator, settings=strict()))["id"],
    )
    await seated(operator, where, "1", LONG)
    for language, word in (("ru", "мм"), ("en", "mm")):
        headers = {"Idempotency-Key": uuid4().hex, "Accept-Language": language}
        body = {"template_id": what, "restaurant_id": where}
        answer = await operator.post("/posm/generations", json=body, headers=headers)
        (detail,) = answer.json()["error"]["details"]
        assert (answer.status_code, detail["code"]) == (422, "text_does_not_fit")
        assert detail["tables"] == [LONG]
        assert word in detail["message"]
    unnamed = await template(operator, turned(), settings=None)
    refused = await pressed(operator, unnamed["id"], restaurant_id=where)
    assert ("fields", "settings_schema") in problems(refused)
    assert await db.fetchval("select count(*) from makeready.posm_generations") == 0


async def test_tables_that_change_while_they_are_checked_are_checked_again(
    operator: Member, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, what = await restaurant(operator), (await template(operator, settings=strict()))["id"]
    planned = posm_pressing.planned
    changes = iter([["1", "2"], ["1", LONG]])

    async def interrupted(*wish: Any) -> posm_pressing.Plan:
        plan = await planned(*wish)
        now = next(changes, None)
        if now:
            await seated(operator, where, *now)
        return plan

    monkeypatch.setattr(posm_pressing, "planned", interrupted)
    answer = await pressed(operator, what, restaurant_id=where)
    assert [code for _, code in problems(answer)] == ["text_does_not_fit"]
    await seated(operator, where, "1", "2", "3")
    changes = iter([["1"], ["2"], ["3"]])
    restless = await pressed(operator, what, restaurant_id=where)
    assert (restless.status_code, error_code(restless)) == (409, "conflict")
    assert restless.json()["error"]["details"]["reason"] == "tables_change"
    changes = iter([["1", "2"]])
    made = await pressed(operator, what, restaurant_id=where)
    assert (made.status_code, made.json()["version"]) == (201, 1)
    assert (await shown(operator, made.json()["id"]))["tables_total"] == 2
    assert await db.fetchval("select count(*) from makeready.posm_generations") == 1


async def test_psm_016_tables_settings_and_pdf_are_frozen(
    operator: Member, cardroom: Cardroom, db: asyncpg.Connection
) -> None:
    """PSM-008: the PDF that was there when the button was pressed is the one that is used."""
    where, made = await restaurant(operator), await template(operator)
    before = (await pressed(operator, made["id"], restaurant_id=where)).json()
    frozen = await shown(operator, before["id"])
    await seated(operator, where, "1", "7")
    path = f"/posm/templates/{made['id']}"
    assert (await operator.client.put(f"{path}/file", content=turned())).status_code == 200
    await operator.client.patch(path, json={"settings": settings_for(ecc="H"), "name": "новее"})
    await operator.client.patch(f"/restaurants/{where}", json={"name": "Сосны"})
    after = await shown(operator, before["id"])
    assert after["tables"] == frozen["tables"]
    assert after["settings"] == frozen["settings"]
    pinned = await db.fetchval(
        "select encode(hash_sha256, 'hex') from makeready.posm_input($1)", UUID(before["id"])
    )
    assert pinned == made["file"]["sha256"]
    await operator.client.delete(path)  # PSM-005: what was made of it stays
    await done(cardroom, before["id"])
    assert (await shown(operator, before["id"]))["status"] == "done"


@pytest.mark.notified
async def test_who_waits_is_answered_when_the_generation_has_ended(
    operator: Member, cardroom: Cardroom
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    open_still = await pressed(operator, what, wait=1, restaurant_id=where)
    assert (open_still.status_code, open_still.json()["status"]) == (202, "scheduled")
    assert open_still.headers["preference-applied"] == "wait=1"
    await done(cardroom, open_still.json()["id"])
    waiting = asyncio.create_task(pressed(operator, what, key="w", wait=10, restaurant_id=where))
    await cardroom.make(await due(cardroom))
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (201, "done")
    again = await pressed(operator, what, key="w", wait=10, restaurant_id=where)
    assert (again.status_code, again.json()["status"]) == (200, "done")
    failing = asyncio.create_task(pressed(operator, what, wait=10, restaurant_id=where))
    await cardroom.fail(await due(cardroom), message="too pale")
    answer = await failing
    assert (answer.status_code, answer.json()["status"]) == (201, "error")
    assert "too pale" in answer.json()["comment"]


async def test_without_a_link_nothing_is_printed(operator: Member, db: asyncpg.Connection) -> None:
    await db.execute("update makeready.posm_policy set link_template = null")
    assert (await posm_templates.policy(db)).link_template is None
    where, what = await restaurant(operator), (await template(operator))["id"]
    answer = await pressed(operator, what, restaurant_id=where)
    assert {code for _, code in problems(answer)} == {"link_missing"}
