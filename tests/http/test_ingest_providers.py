"""Photos of booths through every kind of provider: real HTTP on both sides of the service."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from PIL import Image

from makeready.config import Settings
from makeready.sealing import Sealer, about_key
from makeready.values import Secret
from makeready_workers.ingest import open_photos
from tests.support.booth import SLOT, form, opened, photo, post
from tests.support.provider_server import (
    KEY,
    ProviderServer,
    block,
    expired,
    no_image,
    picture,
    provider_server,
    refuse,
    wrong_type,
)
from tests.support.service import Service, serving
from tests.support.waiting import until

PUBLIC = "https://booth.example"
MASTER = Secret("cd" * 32)
SLOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemini": ("edit", {"prompt": "As a knight."}),
    "turbotext": ("generate_image2image", {"prompt": "As a knight."}),
    "openai": ("edit", {"prompt": "As a knight."}),
    "replicate": ("run", {"model": "booth/styler"}),
    "fal": ("run", {"model": "fal-ai/styler"}),
    "webhook": ("call", {"prompt": "As a knight."}),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A service, its database, and the providers it asks."""

    service: Service
    db: asyncpg.Connection
    server: ProviderServer

    async def slot(self, kind: str, *fallbacks: str) -> None:
        """Has the slot ask providers of these kinds, one after the other."""
        for each in (kind, *fallbacks):
            await self._provider(each)
        operation, settings = SLOTS[kind]
        chain = [
            {"provider_id": each, "operation_id": SLOTS[each][0], "settings": SLOTS[each][1]}
            for each in fallbacks
        ]
        await self.db.execute(
            "update makeready.slots set provider_id = $2, operation_id = $3, settings_json = $4,"
            " fallbacks = $5 where id = $1",
            *(SLOT, kind, operation, json.dumps(settings), json.dumps(chain)),
        )

    async def _provider(self, kind: str) -> None:
        options = self.server.options(kind, max_attempts=1)
        if kind == "webhook":
            options |= {"url": f"{self.server.url}/hook/run", "answer": {"kind": "image"}}
            options |= {"body": {"kind": "multipart"}}
        await self.db.execute(
            "update makeready.providers set options = $2 where id = $1", kind, json.dumps(options)
        )
        key = await self.db.fetchval("select gen_random_uuid()")
        nonce, sealed = Sealer.of(MASTER).seal(KEY, about_key(kind, key))
        await self.db.execute(
            "insert into makeready.provider_keys (id, provider_id, nonce, sealed, created_at,"
            " updated_at) values ($1, $2, $3, $4, now(), now())",
            *(key, kind, nonce, sealed),
        )


@pytest.fixture
async def stage(settings: Settings, db: asyncpg.Connection) -> AsyncIterator[Stage]:
    await opened(db)
    settings = replace(settings, public_url=PUBLIC, secrets_key=MASTER)
    async with (
        provider_server() as server,
        serving(settings, photo_workers=open_photos) as service,
    ):
        yield Stage(service=service, db=db, server=server)


async def test_a_photo_goes_through_every_kind_of_provider(stage: Stage) -> None:
    for kind in SLOTS:
        await stage.slot(kind)
        answer = await post(stage.service.url)
        assert (answer.status, answer.body) == (200, picture())
        assert answer.headers["content-type"] == "image/jpeg"
    asked = {each.kind for each in stage.server.asked if each.stage == "submit"}
    assert len(asked) == len(SLOTS)
    # ING-071: what is kept of photos names neither keys nor links
    told = await stage.db.fetchval(
        "select json_agg(l)::text || (select json_agg(p)::text from makeready.photos p)"
        " from makeready.processing_logs l"
    )
    assert told.count("succeeded") >= len(SLOTS)
    for secret in (KEY, "signature", "https://"):
        assert secret not in told


async def test_a_provider_fetches_the_photo_by_its_link_until_it_is_answered(stage: Stage) -> None:
    # ING-018, ING-046, ING-051, ING-052: upright, without metadata, gone with the answer
    out = io.BytesIO()
    turned = Image.new("RGB", (64, 48), (200, 120, 40))
    exif = Image.Exif()
    exif[274], exif[271] = 6, "a camera"
    turned.save(out, "JPEG", exif=exif)
    await stage.slot("turbotext")
    stage.server.fetches_at = stage.service.url
    answer = await post(stage.service.url, form(out.getvalue()))

    assert (answer.status, answer.body) == (200, picture())
    ((status, fetched),) = stage.server.fetched
    assert status == 200
    with Image.open(io.BytesIO(fetched)) as seen:
        assert (seen.size, seen.format, dict(seen.getexif())) == ((48, 64), "JPEG", {})
    link = stage.server.last().form["url"]
    assert link.startswith(f"{PUBLIC}/public/media/")

    async def gone() -> bool:
        again = await stage.service.client.get(urlsplit(link).path)
        return again.status_code in (404, 410)

    await until(gone, what="the end of the link")


async def test_a_photo_that_is_never_fetched_ends_as_a_timeout_ing_052(stage: Stage) -> None:
    await opened(stage.db, window_s=1)
    await stage.slot("turbotext")
    stage.server.pending = 100_000  # it says that it waits for the photo
    answer = await post(stage.service.url)

    assert (answer.status, answer.code) == (504, "sync_timeout")
    assert stage.server.fetched == []
    reasons = "select array_agg(failure_reason) from makeready.photos"
    assert await stage.db.fetchval(reasons) == ["timeout"]
    link = urlsplit(stage.server.last().form["url"]).path

    async def gone() -> bool:
        return (await stage.service.client.get(link)).status_code == 410

    await until(gone, what="the end of the link")


async def test_ing_008_a_photo_that_a_provider_cannot_fetch_is_refused_before_it_is_asked(
    stage: Stage,
) -> None:
    await stage.slot("turbotext")
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
    answer = await post(stage.service.url, form(heic))
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert stage.server.asked == []


async def test_ing_035_a_booth_is_told_why_in_a_word(stage: Stage) -> None:
    for kind, where, behaviour, reason in (
        ("gemini", "submit", block(), "rejected"),
        ("openai", "submit", refuse(429, word="insufficient_quota"), "quota"),
        ("fal", "download", expired(), "upstream"),
        ("webhook", "submit", wrong_type(), "invalid_response"),
        ("replicate", "poll", no_image(), "no_image"),
    ):
        await stage.slot(kind)
        stage.server.will(*[behaviour] * 3, stage=where)
        answer = await post(stage.service.url)

        assert (answer.status, answer.code) == (503, "provider_error")
        assert answer.error["details"]["reason"] == reason
        assert "://" not in answer.body.decode()
        stage.server.forget()


async def test_the_next_provider_is_asked_when_one_refuses(stage: Stage) -> None:
    await stage.slot("gemini", "openai")
    stage.server.will(refuse(429, word="GenerateRequestsPerDayPerProject"))
    answer = await post(stage.service.url, form(photo(80)))
    assert (answer.status, answer.body) == (200, picture())
    assert [each.kind for each in stage.server.asked] == ["gemini", "openai"]


async def test_what_is_in_ones_own_network_is_pinged_there(stage: Stage) -> None:
    # ING-075: a ping goes the way that photos go
    await stage.slot("gemini")
    answer = await stage.service.client.get("/healthz")
    assert answer.json()["checks"]["providers"]["gemini"] == "ok"
    assert stage.server.stages() == ["ping"]
