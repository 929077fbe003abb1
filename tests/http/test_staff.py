"""Staff: what each role may do, and when a token counts (ING-064)."""

from __future__ import annotations

import asyncpg

from makeready import staff as accounts
from tests.http.conftest import MakeMember
from tests.support.service import Member, Person, Service, error_code


async def test_a_member_of_staff_learns_who_is_signed_in(administrator: Member) -> None:
    answer = await administrator.get("/admin/me")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert (found["name"], found["role"]) == ("admin", "admin")
    assert {"people:write", "people:read"} <= set(found["permissions"])


async def test_users_and_strangers_are_no_staff(service: Service, anna: Person) -> None:
    for client in (service.client, anna.client):
        answer = await client.get("/admin/me")
        assert (answer.status_code, error_code(answer)) == (401, "unauthorized")


async def test_a_role_that_was_changed_counts_at_the_next_call(
    staff: MakeMember, db: asyncpg.Connection
) -> None:
    member = await staff("operator")
    before = (await member.get("/admin/me")).json()["permissions"]

    await accounts.set_role(db, member.id, "viewer")

    after = (await member.get("/admin/me")).json()["permissions"]
    assert "render:write" in before
    assert "render:write" not in after


async def test_a_role_without_the_permission_is_told_which_one(
    staff: MakeMember, administrator: Member
) -> None:
    operator = await staff("operator")

    refused = await operator.get("/admin/staff")
    assert (refused.status_code, error_code(refused)) == (403, "forbidden")
    assert refused.json()["error"]["details"] == {"needs": "people:read"}
    listed = (await administrator.get("/admin/staff")).json()["staff"]
    assert [row["name"] for row in listed] == ["admin", "operator"]
