"""Staff: log-in by password, what each role may do, and when a token counts."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import jwt
import pytest
from argon2 import PasswordHasher

from makeready import passwords, staff_tokens
from makeready import staff as accounts
from makeready.config import Settings
from makeready.log import configure_logging
from makeready.values import Secret
from tests.http.conftest import MakeMember
from tests.support.objectstore import S3
from tests.support.service import Member, Person, Service, error_code, serving

PASSWORD = "a password of twelve"
DIGEST = passwords.hashed(PASSWORD)


async def logged_in(
    service: Service, name: str = "olga", password: str = PASSWORD, **options: Any
) -> httpx2.Response:
    """An answer to a try."""
    body = {"username": name, "password": password}
    return await service.client.post("/api/login", json=body, **options)


async def me(service: Service, token: str) -> httpx2.Response:
    """Who a token says one is."""
    return await service.client.get("/admin/me", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def olga(db: asyncpg.Connection) -> UUID:
    return await accounts.add(db, "olga", DIGEST, "operator")


@pytest.mark.usefixtures("olga")
async def test_the_right_password_gives_a_token(service: Service, db: asyncpg.Connection) -> None:
    """ING-062, ING-079: the mechanism is that of settings; the password is kept as argon2id."""
    answer = await logged_in(service, " Olga ")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in_sec"}
    assert (body["token_type"], body["expires_in_sec"]) == ("bearer", 3600)
    said = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert said["exp"] - said["iat"] == 3600
    assert "render:write" in said["permissions"]
    found = (await me(service, body["access_token"])).json()
    assert (found["name"], found["role"]) == ("olga", "operator")
    assert await db.fetchval("select signed_in_at is not null from makeready.staff") is True


@pytest.mark.usefixtures("olga")
async def test_whatever_is_wrong_the_answer_is_the_same(
    service: Service, db: asyncpg.Connection
) -> None:
    gone = await accounts.add(db, "gone", DIGEST, "viewer")
    await accounts.disable(db, gone)

    answers = [
        await logged_in(service, "olga", "another password"),
        await logged_in(service, "nobody"),
        await logged_in(service, "gone"),
        await logged_in(service, "", ""),
    ]

    assert [answer.status_code for answer in answers] == [401] * 4
    assert {error_code(answer) for answer in answers} == {"invalid_credentials"}
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.usefixtures("olga")
async def test_the_sixth_try_in_ten_minutes_is_429_even_with_the_right_password(
    service: Service,
) -> None:
    """ING-063."""
    for _ in range(5):
        assert (await logged_in(service, "olga", "another password")).status_code == 401

    refused = await logged_in(service)
    assert (refused.status_code, error_code(refused)) == (429, "rate_limited")
    assert 590 < int(refused.headers["retry-after"]) <= 600
    elsewhere = await logged_in(service, headers={"X-Forwarded-For": "203.0.113.9"})
    assert elsewhere.status_code == 200
    for _ in range(5):
        assert (await logged_in(service, "nobody")).status_code == 401
    assert (await logged_in(service, "nobody")).status_code == 429


@pytest.mark.usefixtures("olga")
async def test_of_many_tries_at_once_five_are_judged(service: Service) -> None:
    answers = await asyncio.gather(*(logged_in(service, "olga", "wrong") for _ in range(12)))

    codes = sorted(answer.status_code for answer in answers)
    assert codes == [401] * 5 + [429] * 7


@pytest.mark.usefixtures("olga")
async def test_who_gets_in_has_all_tries_again(service: Service) -> None:
    for _ in range(3):
        for _ in range(3):
            await logged_in(service, "olga", "another password")
        assert (await logged_in(service)).status_code == 200


async def test_what_is_no_log_in_is_refused_without_repeating_it(service: Service) -> None:
    secret = "s" * 1200
    for body in ({"username": "olga"}, {"username": 1, "password": 2}, {"password": secret}):
        answer = await service.client.post("/api/login", json=body)
        assert (answer.status_code, error_code(answer)) == (422, "validation_failed")
        assert secret not in answer.text
    broken = await service.client.post("/api/login", content=b"{")
    assert (broken.status_code, error_code(broken)) == (400, "invalid_request")


async def test_a_hash_of_older_parameters_is_made_anew_at_the_next_log_in(
    service: Service, db: asyncpg.Connection
) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    await accounts.add(db, "olga", old, "viewer")

    assert (await logged_in(service)).status_code == 200

    kept = await db.fetchval("select password_hash from makeready.staff_passwords")
    assert not passwords.is_outdated(kept)
    assert (await logged_in(service)).status_code == 200


@pytest.mark.usefixtures("olga")
async def test_passwords_are_compared_off_the_loop(service: Service) -> None:
    """Meanwhile other requests are answered: 20 log-ins take 400 ms of the processor at least."""
    async with asyncio.TaskGroup() as tasks:
        logins = [
            tasks.create_task(
                logged_in(service, f"n{n}.x", headers={"X-Forwarded-For": f"203.0.113.{n}"})
            )
            for n in range(20)
        ]
        alive = 0
        while not all(login.done() for login in logins):
            assert (await service.client.get("/health/live")).status_code == 200
            alive += 1
    assert alive > 20


@pytest.mark.usefixtures("olga")
async def test_nothing_secret_is_written_down(service: Service, db: asyncpg.Connection) -> None:
    log = io.StringIO()
    configure_logging("json", "debug", log)
    await logged_in(service, "olga", "a wrong password")
    token = (await logged_in(service)).json()["access_token"]
    await me(service, token)
    await service.client.post("/admin/logout", headers={"Authorization": f"Bearer {token}"})

    events = {json.loads(line)["event"] for line in log.getvalue().splitlines()}
    assert {"staff_login", "staff_login_refused", "staff_logout"} <= events
    rows = await db.fetch("select a::text from makeready.audit_log a")
    text = log.getvalue() + str([row[0] for row in rows])
    for secret in (PASSWORD, "a wrong password", token, token.split(".")[2], "argon2"):
        assert secret not in text


async def test_log_in_and_out_are_audited(
    service: Service, db: asyncpg.Connection, olga: UUID
) -> None:
    token = (await logged_in(service)).json()["access_token"]
    heads = {"Authorization": f"Bearer {token}", "X-Request-Id": "the-request"}
    await service.client.post("/admin/logout", headers=heads)

    rows = await db.fetch(
        "select * from makeready.audit_log where target = $1 order by id", str(olga)
    )
    assert [row["action"] for row in rows][1:] == ["staff_signed_in", "staff_sign_out"]
    assert rows[-1]["actor"].startswith("olga via ")
    assert rows[-1]["request_id"] == "the-request"


@pytest.mark.usefixtures("olga")
async def test_a_log_in_ends_alone_or_with_all_others(service: Service) -> None:
    first, second, third = [(await logged_in(service)).json()["access_token"] for _ in range(3)]

    def heads(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    assert (await service.client.post("/admin/logout", headers=heads(first))).status_code == 200
    assert (await me(service, first)).status_code == 401
    assert (await me(service, second)).status_code == 200
    wrong = await service.client.post("/admin/logout?everywhere=1", headers=heads(second))
    assert (wrong.status_code, error_code(wrong)) == (400, "invalid_request")
    await service.client.post("/admin/logout?everywhere=true", headers=heads(second))
    assert [(await me(service, token)).status_code for token in (second, third)] == [401, 401]


async def test_forged_expired_and_foreign_tokens_are_401(
    service: Service, settings: Settings, olga: UUID
) -> None:
    facts: dict[str, Any] = {
        "account": olga,
        "version": 1,
        "name": "olga",
        "role": "admin",
        "permissions": ["people:write"],
    }
    key = settings.jwt_secret
    assert key is not None
    hour = timedelta(hours=1)
    good = staff_tokens.issue(key, valid_for=hour, **facts).reveal()
    _, body, signature = good.split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()

    assert (await me(service, good)).status_code == 200
    for token in (
        staff_tokens.issue(key, valid_for=-hour, **facts).reveal(),
        staff_tokens.issue(Secret("another secret of 32 bytes or so"), valid_for=hour, **facts),
        staff_tokens.issue(key, valid_for=hour, **(facts | {"account": uuid4()})),
        staff_tokens.issue(key, valid_for=hour, **(facts | {"version": 2})),
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        good[:-4],
        "mk_" + "0" * 64,
    ):
        text = token.reveal() if isinstance(token, Secret) else token
        answer = await me(service, text)
        assert (answer.status_code, error_code(answer)) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_what_a_token_says_of_its_role_opens_nothing(
    service: Service, settings: Settings, olga: UUID
) -> None:
    assert settings.jwt_secret is not None
    said = staff_tokens.issue(
        settings.jwt_secret,
        account=olga,
        version=1,
        name="olga",
        role="admin",
        permissions=["people:read"],
        valid_for=timedelta(hours=1),
    )
    heads = {"Authorization": f"Bearer {said.reveal()}"}
    answer = await service.client.get("/admin/staff", headers=heads)
    assert (answer.status_code, error_code(answer)) == (403, "forbidden")


async def test_users_and_strangers_are_no_staff_and_staff_are_no_users(
    service: Service, anna: Person, administrator: Member
) -> None:
    for client in (service.client, anna.client):
        answer = await client.get("/admin/me")
        assert (answer.status_code, error_code(answer)) == (401, "unauthorized")
    assert (await administrator.get("/me")).status_code == 401
    assert (await administrator.get("/me/packs")).status_code == 401


async def test_a_role_that_was_changed_counts_at_the_next_call(
    staff: MakeMember, db: asyncpg.Connection
) -> None:
    member = await staff("operator")
    before = (await member.get("/admin/me")).json()["permissions"]

    await accounts.set_role(db, member.id, "viewer")

    after = (await member.get("/admin/me")).json()["permissions"]
    assert "render:write" in before
    assert "render:write" not in after


async def test_ing_064_a_role_without_the_permission_is_told_which_one(
    staff: MakeMember, administrator: Member
) -> None:
    operator = await staff("operator")

    refused = await operator.get("/admin/staff")
    assert (refused.status_code, error_code(refused)) == (403, "forbidden")
    assert refused.json()["error"]["details"] == {"needs": "people:read"}
    listed = (await administrator.get("/admin/staff")).json()["staff"]
    assert [row["name"] for row in listed] == ["admin", "operator"]


@pytest.mark.usefixtures("olga")
async def test_how_long_a_log_in_lasts_is_a_setting(settings: Settings, s3: S3) -> None:
    assert s3.bucket == settings.s3_bucket
    async with serving(replace(settings, jwt_ttl_s=300)) as service:
        assert (await logged_in(service)).json()["expires_in_sec"] == 300
