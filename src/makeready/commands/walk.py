"""Goes the way of a new user through the service: code, offer, test file, session, a document.

What `makeready smoke` does before it prints whole packs. A client that has a token needs no code;
the test file is left out where the service has no DEBUG.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import anyio

from makeready.commands.service import Client, ServiceError

DOCUMENT = "free_report"
POLL_S = 0.1
READY_TIMEOUT_S = 180.0

Say = Callable[[str], None]


async def walk(client: Client, say: Say) -> Client:
    """The client of the user who went; ServiceError at the first step that fails."""
    if client.token is None:
        client = await _sign_in(client)
        say("signed in by a one-time code")
    since = (await client.post("/legal/offer/accept"))["offer_accepted_at"]
    if (await client.get("/me"))["offer_accepted_at"] != since:
        raise ServiceError("the offer is not accepted")
    say("the offer is accepted")
    if await _has_debug(client):
        await _test_file(client)
        say("a test file was stored, listed and downloaded")
    pack = await _pack(client)
    await _document(client, pack)
    say("a session became a pack, and a document of it was printed")
    return client


async def has_codes(client: Client) -> bool:
    """Whether the service sends one-time codes."""
    try:
        await client.get("/health/sms")
    except ServiceError:
        return False
    return True


async def _sign_in(client: Client) -> Client:
    phone = f"+7999{secrets.randbelow(10**7):07}"
    await client.post("/auth/otp/request", {"phone": phone})
    code = (await client.get(f"/debug/otp/latest?phone={quote(phone)}"))["code"]
    found = await client.post("/auth/otp/verify", {"phone": phone, "code": code})
    return replace(client, token=found["token"])


async def _has_debug(client: Client) -> bool:
    return "head_bucket" in await client.get("/health/s3")


async def _test_file(client: Client) -> None:
    made = await client.post("/debug/s3/put-test-pdf")
    _must_be_pdf(await client.download(made["download_url"]))
    listed = (await client.get("/me/files"))["files"]
    if made["file_id"] not in [row["file_id"] for row in listed]:
        raise ServiceError(f"/me/files does not list {made['file_id']}")
    await _fetch(client, made["file_id"])


async def _pack(client: Client) -> str:
    session = (await client.post("/sessions", {"profession_query": "бариста"}))["session_id"]
    pack: str = (await client.post("/ml/job", {"session_id": session}))["pack_id"]
    listed = (await client.get("/me/packs"))["packs"]
    if listed[0]["pack_id"] != pack:
        raise ServiceError(f"/me/packs does not begin with {pack}")
    return pack


async def _document(client: Client, pack: str) -> None:
    await client.post(f"/packs/{pack}/render/{DOCUMENT}")
    until = time.monotonic() + READY_TIMEOUT_S
    while True:
        found = await _state(client, pack)
        if found["status"] == "ready" and found["file_id"]:
            await _fetch(client, found["file_id"])
            return
        if found["status"] == "failed" or time.monotonic() > until:
            raise ServiceError(f"{DOCUMENT} is {found['status']}: {found['last_error']}")
        await anyio.sleep(POLL_S)


async def _state(client: Client, pack: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = (await client.get(f"/packs/{pack}/documents"))["documents"]
    return next(row for row in rows if row["doc_id"] == DOCUMENT)


async def _fetch(client: Client, file_id: str) -> None:
    link = (await client.get(f"/files/{file_id}/download"))["url"]
    _must_be_pdf(await client.download(link))


def _must_be_pdf(data: bytes) -> None:
    if not data.startswith(b"%PDF"):
        raise ServiceError(f"a download begins with {data[:8]!r}")
