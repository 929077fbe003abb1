"""Generations of table cards over HTTP: history, progress, checks, ends.

Proves PSM-023, PSM-030, PSM-033, PSM-043.
"""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.http.conftest import MakeMember
from tests.support.card_office import done, pressed, restaurant, seated, shown, template
from tests.support.card_templates import settings_for
from tests.support.generating import Cardroom
from tests.support.service import Member, Person, Service, error_code

pytestmark = pytest.mark.usefixtures("cardroom")  # links of tables lead somewhere


async def test_psm_030_history_is_filtered_and_paged(
    operator: Member, viewer: Member, cardroom: Cardroom, staff: MakeMember
) -> None:
    one, other = await restaurant(operator), await restaurant(operator, name="Сосны")
    what = (await template(operator))["id"]
    boris = await staff("operator", name="boris")
    first = (await pressed(operator, what, restaurant_id=one)).json()
    await done(cardroom, first["id"])
    second = (await pressed(boris, what, restaurant_id=one)).json()
    third = (await pressed(boris, what, restaurant_id=other)).json()

    async def found(query: str) -> list[str]:
        answer = await viewer.get(f"/posm/generations?{query}")
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["generations"]]

    assert await found("") == [third["id"], second["id"], first["id"]]
    assert await found(f"restaurant_id={one}") == [second["id"], first["id"]]
    assert await found(f"restaurant_id={one}&status=done") == [first["id"]]
    assert await found("author=boris") == [third["id"], second["id"]]
    assert await found(f"template_id={uuid4()}") == []
    table = (await shown(viewer, third["id"]))["tables"][0]["uuid"]
    assert await found(f"table={table}") == [third["id"]]
    page = (await viewer.get("/posm/generations?limit=2")).json()
    assert await found(f"limit=2&cursor={page['next']}") == [first["id"]]
    assert await found(f"limit=2&after={page['next']}") == [first["id"]]
    made_at = (await shown(viewer, second["id"]))["created_at"].replace("+", "%2B")
    assert await found(f"before={made_at}") == [first["id"]]
    assert await found(f"from={made_at}") == [third["id"], second["id"]]
    row = (await viewer.get(f"/posm/generations?restaurant_id={other}")).json()["generations"][0]
    assert (row["version"], row["author"], row["restaurant_name"]) == (1, "boris", "Сосны")
    assert (row["tables_total"], row["settings"]) == (3, settings_for())
    assert (await viewer.get("/posm/generations?status=ready")).status_code == 400


async def test_psm_033_the_check_says_what_has_changed_since(
    operator: Member, viewer: Member, cardroom: Cardroom
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    made = (await pressed(operator, what, restaurant_id=where)).json()
    path = f"/posm/generations/{made['id']}/check"
    early = await viewer.get(path)
    assert (early.status_code, error_code(early)) == (409, "conflict")
    await done(cardroom, made["id"])
    found = (await viewer.get(path)).json()
    assert (found["status"], found["added"], found["removed"]) == ("ok", [], [])
    uuids = await seated(operator, where, "1", "2", "3")
    tables = [{"uuid": uuids["1"], "number": "10"}, {"number": "2"}, {"number": "4"}]
    await operator.client.put(f"/restaurants/{where}/tables", json={"tables": tables})
    found = (await viewer.get(path)).json()
    assert found["status"] == "warn"
    assert [table["number"] for table in found["added"]] == ["4"]
    assert [table["number"] for table in found["removed"]] == ["3"]
    (renumbered,) = found["renumbered"]
    assert (renumbered["before"]["number"], renumbered["after"]["number"]) == ("1", "10")
    assert [entry["uuid"] for entry in found["changed"]] == [uuids["1"]]
    assert (await viewer.get(f"/posm/generations/{uuid4()}/check")).status_code == 404


async def test_psm_023_a_failure_says_why_and_can_be_tried_again(
    operator: Member, cardroom: Cardroom
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    made = (await pressed(operator, what, restaurant_id=where)).json()
    path = f"/posm/generations/{made['id']}"
    early = await operator.post(f"{path}/retry")
    assert (early.status_code, error_code(early)) == (409, "already_in_progress")
    await cardroom.fail(await cardroom.one(), code="qr_contrast", message="too pale", table="2")
    found = await shown(operator, made["id"])
    assert (found["status"], found["error_code"]) == ("error", "qr_contrast")
    assert "too pale" in found["comment"]
    again = await operator.post(f"{path}/retry")
    assert (again.status_code, again.json()["status"]) == (200, "scheduled"), again.text
    await done(cardroom, made["id"])
    assert (await shown(operator, made["id"]))["version"] == 1


async def test_an_active_generation_can_be_cancelled_and_makes_room(
    operator: Member, administrator: Member
) -> None:
    await administrator.client.patch("/admin/posm/policy", json={"max_active": 1})
    what = (await template(operator))["id"]
    first, second = [
        (await pressed(operator, what, restaurant_id=await restaurant(operator))).json()
        for _ in range(2)
    ]
    assert (await shown(operator, second["id"]))["status"] == "created"  # PSM-043
    cancelled = await operator.post(f"/posm/generations/{first['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "error")
    assert (await shown(operator, second["id"]))["status"] == "scheduled"
    over = await operator.post(f"/posm/generations/{first['id']}/cancel")
    assert (over.status_code, error_code(over)) == (409, "conflict")


async def test_cards_are_listed_with_what_was_seen_of_them(
    operator: Member, viewer: Member, cardroom: Cardroom
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    made = (await pressed(operator, what, restaurant_id=where)).json()
    await done(cardroom, made["id"])
    path = f"/posm/generations/{made['id']}/tables"
    page = (await viewer.get(f"{path}?limit=2")).json()
    assert [row["number"] for row in page["tables"]] == ["1", "2"]
    assert page["tables"][0]["evidence"] == {"decoded": True}
    assert page["tables"][0]["is_done"]
    rest = (await viewer.get(f"{path}?limit=2&after={page['next']}")).json()
    assert ([row["number"] for row in rest["tables"]], rest["next"]) == (["3"], None)


async def test_viewers_read_and_operators_press(
    service: Service, anna: Person, viewer: Member, operator: Member
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    made = (await pressed(operator, what, restaurant_id=where)).json()
    path = f"/posm/generations/{made['id']}"
    for readable in ("/posm/generations", path, f"{path}/tables"):
        assert (await viewer.get(readable)).status_code == 200
        assert (await service.client.get(readable)).status_code == 401
        assert (await anna.get(readable)).status_code == 401
    refused = [
        await pressed(viewer, what, restaurant_id=where),
        await viewer.post(f"{path}/cancel"),
        await viewer.post(f"{path}/retry"),
    ]
    for answer in refused:
        assert (answer.status_code, error_code(answer)) == (403, "forbidden")
