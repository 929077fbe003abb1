"""Users sign in by a one-time code, with a provider that sends nothing (RND-034)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from makeready import people
from makeready.config import Settings
from makeready.log import configure_logging
from tests.support.objectstore import S3
from tests.support.service import Person, Service, error_code, serving

PHONE = "+79001234567"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, debug=True)


async def asked(service: Service, phone: str = PHONE, **options: Any) -> httpx2.Response:
    """Asks for a code."""
    return await service.client.post("/auth/otp/request", json={"phone": phone}, **options)


async def code_for(service: Service, phone: str = PHONE) -> str:
    """The code that the mock would have sent."""
    answer = await service.client.get("/debug/otp/latest", params={"phone": phone})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["code"])


async def brought(service: Service, code: str, phone: str = PHONE) -> httpx2.Response:
    """Brings a code."""
    body = {"phone": phone, "code": code}
    return await service.client.post("/auth/otp/verify", json=body)


def other(code: str) -> str:
    """A code that is not this one."""
    return f"{(int(code) + 1) % 1_000_000:06}"


def bearer(token: str) -> Mapping[str, str]:
    """The header of a token."""
    return {"Authorization": f"Bearer {token}"}


async def test_a_number_becomes_a_user_with_a_token(service: Service) -> None:
    sent = await asked(service)
    assert (sent.status_code, sent.json()) == (200, {"ok": True})

    found = await brought(service, await code_for(service))

    assert found.status_code == 200
    assert found.headers["cache-control"] == "no-store"
    body = found.json()
    assert body["ok"] is True
    assert 2_590_000 < body["expires_in_sec"] <= 2_592_000
    assert body["offer_accepted"] is False
    me = (await service.client.get("/me", headers=bearer(body["token"]))).json()
    assert (me["user_id"], me["phone"]) == (body["user_id"], PHONE)
    assert me["offer_accepted_at"] is None


async def test_a_wrong_code_is_401_and_a_right_one_works_once(service: Service) -> None:
    await asked(service)
    code = await code_for(service)

    wrong = await brought(service, other(code))
    assert (wrong.status_code, error_code(wrong)) == (401, "invalid_credentials")
    assert (await brought(service, code)).status_code == 200
    again = await brought(service, code)
    assert (again.status_code, again.json()["error"]) == (401, wrong.json()["error"])
    never = await brought(service, code, "+79007654321")
    assert (never.status_code, never.json()["error"]) == (401, wrong.json()["error"])


async def test_of_two_at_once_with_one_code_one_gets_in(service: Service) -> None:
    await asked(service)
    code = await code_for(service)

    found = await asyncio.gather(*(brought(service, code) for _ in range(4)))

    assert sorted(answer.status_code for answer in found) == [200, 401, 401, 401]


@pytest.mark.parametrize("text", ["+7 (900) 123-45-67", " +7.900.123.45.67 "])
async def test_a_number_may_be_written_as_people_write_it(service: Service, text: str) -> None:
    await asked(service, text)

    assert (await brought(service, await code_for(service))).status_code == 200


@pytest.mark.parametrize(
    "text", ["", "123", "89001234567", "+0900123456", "+7900123456x", "+" * 30]
)
async def test_what_is_no_number_is_400(service: Service, text: str) -> None:
    for answer in (await asked(service, text), await brought(service, "123456", text)):
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
        assert answer.json()["error"]["details"]["field"] == "phone"


async def test_too_many_of_a_number_or_of_an_address_are_429(service: Service) -> None:
    for _ in range(5):
        assert (await asked(service)).status_code == 200

    refused = await asked(service)
    assert (refused.status_code, error_code(refused)) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    for number in range(15):
        assert (await asked(service, f"+7900000{number:04}")).status_code == 200
    assert (await asked(service, "+79990000001")).status_code == 429
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    assert (await asked(service, "+79990000001", headers=elsewhere)).status_code == 200


async def test_an_address_counts_only_as_told_by_a_proxy_that_is_trusted(
    settings: Settings, s3: S3
) -> None:
    assert s3.bucket == settings.s3_bucket
    async with serving(replace(settings, trusted_proxies="192.0.2.1")) as service:
        answers = [
            await asked(service, f"+7900000{n:04}", headers={"X-Forwarded-For": f"203.0.113.{n}"})
            for n in range(21)
        ]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]


async def test_neighbours_in_one_network_of_ipv6_are_one_address(service: Service) -> None:
    def host(number: int) -> dict[str, str]:
        return {"X-Forwarded-For": f"2001:db8:1:2::{number:x}"}

    for number in range(20):
        await asked(service, f"+7900000{number:04}", headers=host(number + 1))
    refused = await asked(service, "+79990000001", headers=host(500))
    other_network = {"X-Forwarded-For": "2001:db8:1:3::1"}
    assert refused.status_code == 429
    assert (await asked(service, "+79990000001", headers=other_network)).status_code == 200


async def test_guessing_ends_in_429(service: Service) -> None:
    await asked(service)
    code = await code_for(service)
    for _ in range(15):
        assert (await brought(service, other(code))).status_code == 401

    refused = await brought(service, other(code))
    assert (refused.status_code, error_code(refused)) == (429, "rate_limited")
    assert "retry-after" in refused.headers


async def test_a_disabled_user_is_refused_as_for_a_wrong_code(
    service: Service, db: asyncpg.Connection
) -> None:
    user = await people.user_create(db, "A", phone=PHONE)
    await asked(service)
    wrong = await brought(service, other(await code_for(service)))
    await people.user_set_disabled(db, user, disabled=True)

    found = await brought(service, await code_for(service))
    assert (found.status_code, found.json()["error"]) == (401, wrong.json()["error"])


async def test_who_logs_out_is_out_with_this_token_only(service: Service, anna: Person) -> None:
    made = (await anna.post("/me/tokens", json={"label": "booth"})).json()["token"]

    assert (await anna.post("/auth/logout")).status_code == 200
    assert (await anna.get("/me")).status_code == 401
    assert (await anna.post("/auth/logout")).status_code == 401
    assert (await service.client.get("/me", headers=bearer(made))).status_code == 200


async def test_nothing_secret_is_written_down(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the code nor the token nor the number, by the service or by anything it uses."""
    for name in ("httpx2", "httpcore2"):  # the client's own words
        caplog.set_level(logging.WARNING, logger=name)
    log = io.StringIO()
    configure_logging("json", "debug", log)
    await asked(service)
    code = await code_for(service)
    await brought(service, other(code))
    body = (await brought(service, code)).json()
    await service.client.get("/me", headers=bearer(body["token"]))
    await service.client.post("/auth/logout", headers=bearer(body["token"]))

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {"otp_sent", "otp_refused", "otp_verified", "logged_out"} <= {x["event"] for x in lines}
    measured = dict.fromkeys(("ts", "ms", "request_id", "user_id"), "")  # digits like any code's
    text = str([line | measured for line in lines])
    for secret in (code, body["token"], body["token"][3:], PHONE, PHONE[1:]):
        assert secret not in text


async def test_statements_of_the_server_hold_no_code_and_no_token(
    service: Service, db: asyncpg.Connection
) -> None:
    await asked(service)
    code = await code_for(service)
    body = (await brought(service, code)).json()

    texts = [row[0] for row in await db.fetch("select query from pg_stat_activity")]
    texts += [row[0] for row in await db.fetch("select a::text from makeready.audit_log a")]
    assert texts
    assert not [text for text in texts if body["token"] in text or f" {code}" in text]


class TestWithoutDebug:
    """Production refuses the mock, and says why to whoever looks after it."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, debug=False)

    async def test_no_code_is_sent_or_taken(self, service: Service) -> None:
        for answer in (await asked(service), await brought(service, "123456")):
            assert (answer.status_code, error_code(answer)) == (503, "queue_unavailable")
            assert "DEBUG" in answer.json()["error"]["message"]
            assert "retry-after" in answer.headers
        health = await service.client.get("/health/sms")
        assert (health.status_code, error_code(health)) == (503, "queue_unavailable")
        assert health.json()["error"]["details"]["provider"] == "mock"

    async def test_debug_routes_are_not_there(self, service: Service, anna: Person) -> None:
        for answer in (
            await service.client.get("/debug/otp/latest", params={"phone": PHONE}),
            await anna.post("/debug/s3/put-test-pdf"),
            await service.client.post("/debug/s3/put-test-pdf"),
        ):
            assert (answer.status_code, error_code(answer)) == (404, "route_not_found")


class TestWithoutSecret:
    """A service that has nothing to sign with lets nobody in by code or password."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, jwt_secret=None)

    async def test_nobody_signs_in_but_with_a_token(self, service: Service, anna: Person) -> None:
        login = {"username": "anna", "password": "a password of twelve"}
        for answer in (
            await asked(service),
            await service.client.post("/api/login", json=login),
            await service.client.get("/health/sms"),
        ):
            assert (answer.status_code, error_code(answer)) == (503, "queue_unavailable")
            assert "MAKEREADY_JWT_SECRET" in answer.json()["error"]["message"]
        assert (await service.client.get("/admin/me", headers=bearer("x.y.z"))).status_code == 401
        assert (await anna.get("/me")).status_code == 200


async def test_health_says_that_codes_can_be_sent(service: Service) -> None:
    assert (await service.client.get("/health/sms")).json() == {"ok": True, "provider": "mock"}
    assert (await service.client.get("/health/db")).json() == {"ok": True}
