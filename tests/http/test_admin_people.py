"""What staff do about people: users, their tokens, accounts of staff."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from makeready import people
from tests.http.conftest import MakeMember
from tests.support.service import Member, Person, Service, error_code

PASSWORD = "a password of twelve"


async def test_staff_list_users_page_by_page_and_find_one_by_number(
    administrator: Member, anna: Person, boris: Person, db: asyncpg.Connection
) -> None:
    vera = await people.user_create(db, "Вера", phone="+79001234567")

    first = (await administrator.get("/admin/users?limit=2")).json()
    assert [row["user_id"] for row in first["users"]] == [str(vera), str(boris.id)]
    rest = (await administrator.get(f"/admin/users?limit=2&after={first['next']}")).json()
    assert [row["user_id"] for row in rest["users"]] == [str(anna.id)]
    assert rest["next"] is None
    params = {"phone": "+7 900 123-45-67"}
    found = (await administrator.get("/admin/users", params=params)).json()["users"]
    assert [(row["name"], row["phone"]) for row in found] == [("Вера", "+79001234567")]
    wrong = await administrator.get("/admin/users?phone=none")
    assert (wrong.status_code, error_code(wrong)) == (400, "invalid_request")


async def test_a_disabled_user_is_out_at_once_and_in_again_when_enabled(
    administrator: Member, anna: Person, db: asyncpg.Connection
) -> None:
    path = f"/admin/users/{anna.id}"

    assert (await administrator.post(f"{path}/disable")).json()["changed"] is True
    assert (await administrator.post(f"{path}/disable")).json()["changed"] is False
    assert (await anna.get("/me")).status_code == 401
    assert (await administrator.post(f"{path}/enable")).json()["changed"] is True
    assert (await anna.get("/me")).status_code == 200
    rows = await db.fetch(
        "select actor, action from makeready.audit_log where target = $1 and action <> $2",
        str(anna.id),
        "user_create",
    )
    assert [row["action"] for row in rows] == ["user_disable", "user_enable"]
    assert all(row["actor"].startswith("admin via ") for row in rows)


async def test_staff_see_tokens_without_secrets_and_withdraw_them(
    administrator: Member, anna: Person, boris: Person
) -> None:
    await anna.post("/me/tokens", json={"label": "booth"})
    path = f"/admin/users/{anna.id}/tokens"
    listed = (await administrator.get(path)).json()["tokens"]
    assert [row["label"] for row in listed] == ["booth", ""]
    assert anna.secret not in str(listed)

    own = listed[1]["token_id"]
    elsewhere = f"/admin/users/{boris.id}/tokens/{own}"
    assert (await administrator.client.delete(elsewhere)).json()["revoked"] is False
    assert (await anna.get("/me")).status_code == 200
    assert (await administrator.client.delete(f"{path}/{own}")).json()["revoked"] is True
    assert (await anna.get("/me")).status_code == 401
    logged_out = await administrator.post(f"/admin/users/{anna.id}/logout")
    assert logged_out.json()["revoked"] == 1


async def test_an_unknown_user_or_account_is_404(administrator: Member) -> None:
    for path, body in (
        (f"/admin/users/{uuid4()}/disable", None),
        (f"/admin/users/{uuid4()}/logout", None),
        ("/admin/users/none/enable", None),
        (f"/admin/staff/{uuid4()}/disable", None),
        (f"/admin/staff/{uuid4()}/role", {"role": "viewer"}),
        ("/admin/staff/none/password", {"password": PASSWORD}),
    ):
        answer = await administrator.post(path, json=body)
        assert (answer.status_code, error_code(answer)) == (404, "user_not_found"), path


async def test_what_is_no_id_of_a_token_is_404_for_users_and_staff_alike(
    administrator: Member, anna: Person
) -> None:
    for delete, path in (
        (anna.client.delete, "/me/tokens/none"),
        (administrator.client.delete, f"/admin/users/{anna.id}/tokens/none"),
    ):
        answer = await delete(path)
        assert (answer.status_code, error_code(answer)) == (404, "result_not_found"), path


async def test_an_admin_makes_an_account_that_works(
    service: Service, administrator: Member
) -> None:
    body = {"name": "olga", "password": PASSWORD, "role": "operator"}
    made = await administrator.post("/admin/staff", json=body)
    assert made.status_code == 201
    login = {"username": "olga", "password": PASSWORD}
    token = (await service.client.post("/api/login", json=login)).json()["access_token"]
    heads = {"Authorization": f"Bearer {token}"}
    assert (await service.client.get("/admin/me", headers=heads)).json()["role"] == "operator"

    taken = await administrator.post("/admin/staff", json=body)
    assert (taken.status_code, error_code(taken)) == (409, "conflict")
    assert taken.json()["error"]["details"]["reason"] == "name_taken"
    account = made.json()["staff_id"]
    changed = {"password": "another password", "reason": "forgotten"}
    await administrator.post(f"/admin/staff/{account}/password", json=changed)
    assert (await service.client.get("/admin/me", headers=heads)).status_code == 401
    assert (await service.client.post("/api/login", json=login)).status_code == 401
    login["password"] = "another password"
    assert (await service.client.post("/api/login", json=login)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Olga"},
        {"name": "ol"},
        {"name": "olga\n"},
        {"password": "elevenchars"},
        {"password": "x" * 129},
        {"role": "owner"},
        {"more": 1},
    ],
)
async def test_what_is_no_account_is_refused(
    administrator: Member, wrong: dict[str, object]
) -> None:
    body = {"name": "olga", "password": PASSWORD, "role": "viewer"} | wrong
    answer = await administrator.post("/admin/staff", json=body)

    assert (answer.status_code, error_code(answer)) == (422, "validation_failed")


async def test_roles_change_and_the_last_admin_stays(
    administrator: Member, staff: MakeMember
) -> None:
    path = f"/admin/staff/{administrator.id}"
    for step, body in (("disable", None), ("role", {"role": "viewer"})):
        refused = await administrator.post(f"{path}/{step}", json=body)
        assert (refused.status_code, error_code(refused)) == (409, "conflict")
        assert refused.json()["error"]["details"]["reason"] == "last_admin"

    other = await staff("viewer")
    await administrator.post(f"/admin/staff/{other.id}/role", json={"role": "admin"})
    assert (await other.post(f"{path}/disable")).json()["changed"] is True
    assert (await administrator.get("/admin/me")).status_code == 401
    assert (await other.post(f"{path}/enable")).json()["changed"] is True
    assert (await administrator.get("/admin/me")).status_code == 401


async def test_of_two_admins_who_disable_each_other_one_stays(
    administrator: Member, staff: MakeMember
) -> None:
    other = await staff("admin", name="second")

    await asyncio.gather(
        administrator.post(f"/admin/staff/{other.id}/disable"),
        other.post(f"/admin/staff/{administrator.id}/disable"),
    )

    left = [(await one.get("/admin/me")).status_code for one in (administrator, other)]
    assert sorted(left) == [200, 401]


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_admins_look_after_people(staff: MakeMember, anna: Person, role: str) -> None:
    member = await staff(role)
    reads = ["/admin/users", "/admin/staff", f"/admin/users/{anna.id}/tokens"]
    writes = [f"/admin/users/{anna.id}/{step}" for step in ("disable", "enable", "logout")]
    writes += [f"/admin/staff/{member.id}/{step}" for step in ("role", "password", "enable")]
    writes += [f"/admin/staff/{member.id}/disable", "/admin/staff"]

    for path in reads:
        answer = await member.get(path)
        assert (answer.status_code, error_code(answer)) == (403, "forbidden")
        assert answer.json()["error"]["details"] == {"needs": "people:read"}
    answers = [await member.post(path, json={"role": "admin"}) for path in writes]
    answers.append(await member.client.delete(f"/admin/users/{anna.id}/tokens/{uuid4()}"))
    for answer in answers:
        assert (answer.status_code, error_code(answer)) == (403, "forbidden")
        assert answer.json()["error"]["details"] == {"needs": "people:write"}
    assert (await member.get("/admin/me")).json()["role"] == role


async def test_users_reach_no_route_of_staff(anna: Person) -> None:
    for path in ("/admin/users", "/admin/staff", f"/admin/users/{anna.id}/tokens"):
        assert (await anna.get(path)).status_code == 401
    assert (await anna.post(f"/admin/users/{anna.id}/logout")).status_code == 401
