"""The smoke test goes the way of a new user and stops at the first fault.

Proves RND-046, RND-047.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from makeready.commands.service import Client, ServiceError, new_session
from makeready.commands.walk import DOCUMENT, has_codes, walk

ROOT = Path(__file__).resolve().parents[2]
SINCE = "2026-11-22T08:00:00+00:00"
ROW = {"doc_id": DOCUMENT, "status": "ready", "file_id": "f", "last_error": None}


def answers() -> dict[str, Any]:
    """What a service that is well says, by method and path."""
    return {
        "GET /health/sms": {"ok": True},
        "GET /health/s3": {"ok": True, "head_bucket": "ok"},
        "POST /auth/otp/request": {"ok": True},
        "GET /debug/otp/latest": {"code": "123456"},
        "POST /auth/otp/verify": {"token": "t"},
        "POST /legal/offer/accept": {"offer_accepted_at": SINCE},
        "GET /me": {"offer_accepted_at": SINCE},
        "POST /debug/s3/put-test-pdf": {"file_id": "f", "download_url": "/file"},
        "GET /me/files": {"files": [{"file_id": "f"}]},
        "GET /files/f/download": {"url": "/file"},
        "POST /sessions": {"session_id": "s"},
        "POST /ml/job": {"pack_id": "p"},
        "GET /me/packs": {"packs": [{"pack_id": "p"}]},
        f"POST /packs/p/render/{DOCUMENT}": {"ok": True},
        "GET /packs/p/documents": {"documents": [ROW]},
        "GET /file": b"%PDF-1.7",
    }


def quiet(_: str) -> None:
    """Says nothing."""


@asynccontextmanager
async def service(known: Mapping[str, Any]) -> AsyncIterator[tuple[Client, list[str]]]:
    """A service that says this, and what it was asked."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        name = f"{request.method} {request.path}"
        asked.append(name)
        found = known.get(name)
        if isinstance(found, bytes):
            return web.Response(body=found)
        if isinstance(found, dict) and "url" in str(found):
            base = f"http://{request.host}"
            found = {
                key: f"{base}{value}" if "url" in key else value for key, value in found.items()
            }
        return web.json_response(found or {"error": {}}, status=200 if found else 503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with new_session() as session:
            yield Client(session=session, base_url=f"http://127.0.0.1:{port}"), asked
    finally:
        await runner.cleanup()


async def test_a_service_that_is_well_is_walked_through() -> None:
    """RND-046."""
    said: list[str] = []
    async with service(answers()) as (client, asked):
        assert await has_codes(client)
        walked = await walk(client, said.append)

    assert walked.token == "t"
    assert set(asked) == set(answers())
    assert len(said) == 4


async def test_without_debug_a_token_does_and_the_test_file_is_left_out() -> None:
    known = {name: said for name, said in answers().items() if "/debug/" not in name}
    known["GET /health/s3"] = {"ok": True}
    del known["GET /health/sms"]
    async with service(known) as (client, asked):
        assert not await has_codes(client)
        await walk(Client(session=client.session, base_url=client.base_url, token="u"), quiet)

    assert not [name for name in asked if "otp" in name or "debug" in name]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("POST /auth/otp/verify", None),
        ("GET /me", {"offer_accepted_at": None}),
        ("GET /me/files", {"files": []}),
        ("GET /me/packs", {"packs": [{"pack_id": "other"}]}),
        ("GET /file", b"<html>"),
        ("GET /packs/p/documents", {"documents": [ROW | {"status": "failed"}]}),
    ],
)
async def test_what_is_amiss_stops_it(name: str, wrong: object) -> None:
    async with service(answers() | {name: wrong}) as (client, _):
        with pytest.raises(ServiceError):
            await walk(client, quiet)


def test_the_smoke_test_is_a_program_and_takes_nothing_from_standard_input() -> None:
    """RND-047."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (recipe,) = re.findall(r"^smoke-render:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    assert "makeready smoke render" in recipe
    assert "|" not in recipe
    scripts = [path for path in (ROOT / "bin").iterdir() if path.is_file()]
    for text in [makefile, *(path.read_text("utf-8") for path in scripts)]:
        assert not re.search(r"python\S*\s+-(\s|$)", text, flags=re.MULTILINE)
        assert not re.search(r"python.*<<", text)
