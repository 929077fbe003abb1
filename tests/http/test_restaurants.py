"""Restaurants and their tables over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.support.service import Member, Person, error_code

CSV = {"Content-Type": "text/csv"}


async def entered(member: Member, **facts: Any) -> dict[str, Any]:
    answer = await member.post("/restaurants", json={"name": "Ёлки", **facts})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["restaurant"])


async def put(member: Member, restaurant: str, *tables: Any, **options: Any) -> httpx2.Response:
    body = {"tables": [{"number": each} if isinstance(each, str) else each for each in tables]}
    return await member.client.put(f"/restaurants/{restaurant}/tables", json=body, **options)


async def numbers(member: Member, restaurant: str) -> list[str]:
    found = await member.get(f"/restaurants/{restaurant}/tables")
    return [table["number"] for table in found.json()["tables"]]


async def test_a_restaurant_lives_from_its_entry_to_its_end(
    operator: Member, db: asyncpg.Connection
) -> None:
    made = await entered(operator, city="Казань", brand="Лес")
    path = f"/restaurants/{made['id']}"
    shown = await operator.get(path)
    assert shown.json()["restaurant"] == made
    assert shown.headers["etag"] == '"1"'
    assert (made["name"], made["city"], made["brand"], made["logo"]) == (
        "Ёлки",
        "Казань",
        "Лес",
        None,
    )
    changed = await operator.client.patch(path, json={"name": " Сосны ", "brand": None})
    assert changed.status_code == 200, changed.text
    assert changed.json()["restaurant"]["name"] == "Сосны"
    assert changed.json()["restaurant"]["brand"] is None
    assert changed.json()["restaurant"]["city"] == "Казань"
    assert (await operator.client.delete(path)).status_code == 204
    gone = await operator.get(path)
    assert (gone.status_code, error_code(gone)) == (404, "restaurant_not_found")
    assert (await operator.get("/restaurants")).json()["restaurants"] == []
    actions = await db.fetch(
        "select action, actor from makeready.audit_log where target = $1 order by at, id",
        made["id"],
    )
    assert [row["action"] for row in actions] == [
        "restaurant_create",
        "restaurant_set",
        "restaurant_delete",
    ]
    assert all(row["actor"].startswith("operator") for row in actions)


async def test_the_same_request_enters_one_restaurant(operator: Member) -> None:
    key = {"Idempotency-Key": "press-1"}
    first = await operator.post("/restaurants", json={"name": "Ёлки"}, headers=key)
    again = await operator.post("/restaurants", json={"name": "Ёлки"}, headers=key)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json() == again.json()
    other = await operator.post("/restaurants", json={"name": "Сосны"}, headers=key)
    assert (other.status_code, error_code(other)) == (422, "idempotency_mismatch")


async def test_restaurants_are_found_and_paged(operator: Member, viewer: Member) -> None:
    for number in range(5):
        await entered(operator, name=f"Ёлки {number}", brand="Лес" if number % 2 else None)
    page = (await viewer.get("/restaurants?limit=2")).json()
    assert [row["name"] for row in page["restaurants"]] == ["Ёлки 4", "Ёлки 3"]
    rest = (await viewer.get(f"/restaurants?limit=3&after={page['next']}")).json()
    assert [row["name"] for row in rest["restaurants"]] == ["Ёлки 2", "Ёлки 1", "Ёлки 0"]
    found = (await viewer.get("/restaurants?brand=Лес")).json()["restaurants"]
    assert [row["name"] for row in found] == ["Ёлки 3", "Ёлки 1"]
    found = (await viewer.get("/restaurants?q=лки 2")).json()["restaurants"]
    assert [row["name"] for row in found] == ["Ёлки 2"]


async def test_who_changes_an_older_restaurant_is_told(operator: Member) -> None:
    made = await entered(operator)
    path = f"/restaurants/{made['id']}"
    old = {"If-Match": f'"{made["version"]}"'}
    first = await operator.client.patch(path, json={"city": "Казань"}, headers=old)
    assert first.headers["etag"] == '"2"'
    second = await operator.client.patch(path, json={"city": "Уфа"}, headers=old)
    assert (second.status_code, error_code(second)) == (409, "stale_version")
    assert second.json()["error"]["details"]["version"] == 2
    ended = await operator.client.delete(path, headers=old)
    assert error_code(ended) == "stale_version"
    odd = await operator.client.patch(path, json={}, headers={"If-Match": "yesterday"})
    assert (odd.status_code, error_code(odd)) == (400, "invalid_request")


async def test_tables_are_replaced_as_a_whole_and_keep_their_uuids(operator: Member) -> None:
    restaurant = (await entered(operator))["id"]
    first = (await put(operator, restaurant, "1", "2", "3")).json()
    assert [row["number"] for row in first["added"]] == ["1", "2", "3"]
    known = {row["number"]: row["uuid"] for row in first["added"]}
    second = await put(
        operator,
        restaurant,
        "4",
        {"number": "1", "name": "У окна"},
        {"uuid": known["2"], "number": "2а"},
    )
    found = second.json()
    assert [row["number"] for row in found["added"]] == ["4"]
    assert [row["uuid"] for row in found["removed"]] == [known["3"]]
    assert {row["uuid"] for row in found["changed"]} == {known["1"], known["2"]}
    assert await numbers(operator, restaurant) == ["4", "1", "2а"]
    back = (await put(operator, restaurant, {"uuid": known["3"], "number": "3"})).json()
    assert [row["uuid"] for row in back["added"]] == [known["3"]]


async def test_a_list_of_tables_has_a_version_of_its_own(operator: Member) -> None:
    restaurant = (await entered(operator))["id"]
    shown = await operator.get(f"/restaurants/{restaurant}/tables")
    mine = {"If-Match": shown.headers["etag"]}
    assert (await put(operator, restaurant, "1", headers=mine)).status_code == 200
    late = await put(operator, restaurant, "2", headers=mine)
    assert (late.status_code, error_code(late)) == (409, "stale_version")
    assert await numbers(operator, restaurant) == ["1"]


async def test_all_that_is_wrong_with_tables_is_told_and_nothing_changed(
    operator: Member,
) -> None:
    restaurant = (await entered(operator))["id"]
    await put(operator, restaurant, "1")
    answer = await put(
        operator,
        restaurant,
        {"number": ""},
        {"number": "2", "seats": -1, "url": "ftp://x"},
        {"number": "3", "colour": "red"},
    )
    assert (answer.status_code, error_code(answer)) == (422, "validation_failed")
    paths = [each["path"] for each in answer.json()["error"]["details"]]
    assert paths == ["tables[0].number", "tables[1].seats", "tables[1].url", "tables[2].colour"]
    answer = await put(operator, restaurant, "5", "6", "5")
    (problem,) = answer.json()["error"]["details"]
    assert problem["path"] == "tables[2].number"
    assert await numbers(operator, restaurant) == ["1"]


async def test_a_table_belongs_to_one_restaurant(operator: Member) -> None:
    one, other = (await entered(operator))["id"], (await entered(operator))["id"]
    added = (await put(operator, one, "1")).json()["added"][0]
    answer = await put(operator, other, {"uuid": added["uuid"], "number": "1"})
    assert answer.status_code == 422
    assert answer.json()["error"]["details"][0]["path"] == "tables[0].uuid"
    answer = await operator.client.put(
        f"/restaurants/{other}/tables",
        json={"tables": [{"uuid": added["uuid"], "number": "1"}]},
        headers={"Accept-Language": "ru"},
    )
    (problem,) = answer.json()["error"]["details"]
    assert "другого ресторана" in problem["message"]
    assert "Уберите uuid" in problem["hint"]


async def test_what_the_database_finds_wrong_has_a_hint_too(operator: Member) -> None:
    answer = await operator.post("/restaurants", json={"name": "two\nlines"})
    (problem,) = answer.json()["error"]["details"]
    assert problem.keys() == {"code", "path", "message", "hint"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
async def test_tables_come_out_of_a_file(operator: Member, encoding: str, separator: str) -> None:
    restaurant = (await entered(operator))["id"]
    path = f"/restaurants/{restaurant}/tables/import"
    lines = ["Номер;Зал;Мест;Официант", "1;Летняя веранда;4;Анна", '2а;"Зал ""Ёлки""";;', ""]
    raw = "\r\n".join(lines).replace(";", separator).encode(encoding)
    trial = (await operator.post(f"{path}?dry_run=true", content=raw, headers=CSV)).json()
    assert await numbers(operator, restaurant) == []
    found = (await operator.post(path, content=raw, headers=CSV)).json()
    assert trial["dry_run"], not found["dry_run"]
    assert [row["number"] for row in trial["added"]] == ["1", "2а"]
    assert found["encoding"] == encoding.removesuffix("-sig")
    assert found["separator"] == separator
    assert found["columns"] == ["number", "section", "seats"]
    assert found["ignored_columns"] == ["Официант"]
    shown = (await operator.get(f"/restaurants/{restaurant}/tables")).json()["tables"]
    assert [(row["number"], row["section"], row["seats"]) for row in shown] == [
        ("1", "Летняя веранда", 4),
        ("2а", 'Зал "Ёлки"', None),
    ]


async def test_a_file_is_refused_with_every_line_that_is_wrong(operator: Member) -> None:
    restaurant = (await entered(operator))["id"]
    taken = (await put(operator, (await entered(operator))["id"], "1")).json()["added"][0]
    path = f"/restaurants/{restaurant}/tables/import"
    raw = "номер;мест;ссылка\n1;много;\n;2;\n3;2;кафе.рф\n".encode()
    for language, word in (("ru-RU,ru;q=0.9", "Строка 2"), ("en", "Line 2")):
        headers = {**CSV, "Accept-Language": language}
        answer = await operator.post(path, content=raw, headers=headers)
        assert (answer.status_code, error_code(answer)) == (422, "validation_failed")
        details = answer.json()["error"]["details"]
        assert [each["path"] for each in details] == [
            "lines[2].seats",
            "lines[3].number",
            "lines[4].url",
        ]
        assert details[0]["message"].startswith(word)
    raw = f"номер;uuid\n1;\n\n2;{taken['uuid']}\n".encode()
    answer = await operator.post(path, content=raw, headers=CSV)
    (problem,) = answer.json()["error"]["details"]
    assert problem["path"] == "lines[4].uuid"
    assert await numbers(operator, restaurant) == []


async def test_a_file_that_is_too_large_or_no_file_is_refused(operator: Member) -> None:
    restaurant = (await entered(operator))["id"]
    path = f"/restaurants/{restaurant}/tables/import"
    answer = await operator.post(path, content=b"number\n" + b"1" * (2 << 20), headers=CSV)
    assert (answer.status_code, error_code(answer)) == (413, "payload_too_large")
    answer = await operator.post(path, content=b"", headers=CSV)
    assert answer.json()["error"]["details"][0]["code"] == "empty"
    answer = await operator.post(path, content=b"PK\x03\x04", headers=CSV)
    assert answer.json()["error"]["details"][0]["code"] == "not_csv"


async def test_viewers_read_and_operators_write(
    service: Any, anna: Person, viewer: Member, operator: Member
) -> None:
    restaurant = (await entered(operator))["id"]
    path = f"/restaurants/{restaurant}"
    for readable in ("/restaurants", path, f"{path}/tables"):
        assert (await viewer.get(readable)).status_code == 200
        assert (await service.client.get(readable)).status_code == 401
        assert (await anna.get(readable)).status_code == 401
    refused = [
        await viewer.post("/restaurants", json={"name": "x"}),
        await viewer.client.patch(path, json={"name": "x"}),
        await viewer.client.delete(path),
        await put(viewer, restaurant, "1"),
        await viewer.post(f"{path}/tables/import", content=b"number\n1", headers=CSV),
    ]
    for answer in refused:
        assert (answer.status_code, error_code(answer)) == (403, "forbidden")
        assert answer.json()["error"]["details"]["needs"] == "posm:write"


async def test_what_is_not_there_looks_the_same_everywhere(operator: Member) -> None:
    for unknown in (str(uuid4()), "42"):
        path = f"/restaurants/{unknown}"
        answers = [
            await operator.get(path),
            await operator.client.patch(path, json={"name": "x"}),
            await operator.client.delete(path),
            await operator.get(f"{path}/tables"),
            await put(operator, unknown, "1"),
        ]
        for answer in answers:
            assert (answer.status_code, error_code(answer)) == (404, "restaurant_not_found")
