"""Photos in lists, the order to clean up, and the health of what photos need."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from makeready import media_cleanup, media_folder
from makeready.config import Settings
from makeready.media_folder import nameless, open_folder
from makeready.schema import inspect
from makeready_http import photo_health
from makeready_http.photo_health import PhotoHealth
from tests.support.album import Album
from tests.support.service import Member, Service, error_code
from tests.support.waiting import until


@pytest.fixture
def album(db: asyncpg.Connection) -> Album:
    return Album(db)


async def ids(member: Member, **query: object) -> list[str]:
    answer = await member.get("/api/jobs", params={**query})
    assert answer.status_code == 200, answer.text
    return [each["job"]["id"] for each in answer.json()["data"]]


async def test_ing_070_filters_orders_and_pages(viewer: Member, album: Album) -> None:
    """ING-070: status, is_finalized, failure_reason, slot_id; created_at or expires_at."""
    now = await album.now()
    old = await album.photo(at=now - timedelta(hours=2))
    late = await album.photo("slot-002", outcome="timeout", at=now - timedelta(hours=1))
    waits = await album.photo("slot-002", outcome=None, answered=None, at=now)
    await album.db.execute(
        "update makeready.photos set expires_at = $1 where id = $2", now + timedelta(hours=1), old
    )
    names = [str(each) for each in (waits, late, old)]
    assert await ids(viewer) == names
    assert await ids(viewer, sort_order="asc") == names[::-1]
    assert await ids(viewer, sort_by="expires_at") == [names[2], names[0], names[1]]
    assert await ids(viewer, is_finalized="false") == [names[0]]
    assert await ids(viewer, is_finalized="true") == names[1:]
    assert await ids(viewer, status="pending") == [names[0]]
    assert await ids(viewer, status="processing") == names[1:]
    assert await ids(viewer, failure_reason="timeout") == [names[1]]
    assert await ids(viewer, slot_id="slot-002", is_finalized="true") == [names[1]]
    assert await ids(viewer, slot_id="slot-099") == []
    page = (await viewer.get("/api/jobs", params={"page": 2, "page_size": 2})).json()
    assert page["meta"] == {"page": 2, "page_size": 2, "total": 3}
    assert [each["job"]["id"] for each in page["data"]] == names[2:]
    for query in ({"page_size": 101}, {"page": 0}, {"status": "done"}, {"sort_by": "slot_id"}):
        answer = await viewer.get("/api/jobs", params=query)
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request")


async def test_ing_070_each_has_its_deadline_and_its_times(viewer: Member, album: Album) -> None:
    """ING-070, and ING-056's log: what a photo of 2 s looks like."""
    job = await album.photo(took=2)
    await album.line(job, "slot-001", "local", status="dispatched", at=await album.now())
    answer = await viewer.get(f"/api/jobs/{job}")
    found = answer.json()
    assert found["metrics"] == {
        "queue_wait_ms": 500,
        "processing_ms": 1500,
        "total_elapsed_ms": 2000,
    }
    deadline = found["deadline"]
    assert deadline["expires_at"] == found["job"]["expires_at"]
    assert deadline["is_expired"] is False
    assert 0 < deadline["remaining_ms"] <= 46_000
    job_facts = found["job"]
    assert job_facts["is_finalized"] is True
    assert job_facts["failure_reason"] is None
    assert job_facts["result_inline_base64"] is None
    assert len(job_facts["result_checksum"]) == 64
    assert [each["status"] for each in found["events"]] == ["received", "succeeded", "dispatched"]
    waits = await album.photo(outcome=None, answered=None)
    found = (await viewer.get(f"/api/jobs/{waits}")).json()
    assert found["metrics"]["queue_wait_ms"] is None
    assert found["metrics"]["total_elapsed_ms"] >= 2000
    for text in (str(uuid4()), "x"):
        answer = await viewer.get(f"/api/jobs/{text}")
        assert (answer.status_code, error_code(answer)) == (404, "job_not_found")


async def test_lists_are_for_staff(service: Service) -> None:
    for path in ("/api/jobs", f"/api/jobs/{uuid4()}", "/api/stats/global"):
        assert (await service.client.get(path)).status_code == 401


async def test_ing_055_a_purge_is_for_admins_and_takes_what_is_stale_at_once(
    administrator: Member, operator: Member, settings: Settings, db: asyncpg.Connection
) -> None:
    """ING-055: 202 `queued_for_gc` with an id and the cutoff; 422 for another scope."""
    media = await open_folder(settings.media_folder)
    album = Album(db, media.name)
    live, stale = uuid4(), uuid4()
    for job in (live, stale):
        stored = await media.write(f"results/{job}.jpg", b"x", "image/jpeg")
        await album.photo(job=job, stored=stored)
    path = "/api/media/cache/purge"

    async def waits_its_turn() -> bool:
        due = "select due_at > makeready.now() from makeready.media_turns where chore = $1"
        return bool(await db.fetchval(due, "photochanger-media-cleanup"))

    await until(waits_its_turn)
    await db.execute(
        "update makeready.photos set result_expires_at = makeready.now() where id = $1", stale
    )
    assert (await operator.post(path)).status_code == 403
    answer = await administrator.post(path, json={"scope": "all"})
    assert (answer.status_code, error_code(answer)) == (422, "validation_failed")
    answer = await administrator.post(path)
    assert answer.status_code == 202
    found = answer.json()
    assert found.keys() == {"status", "scope", "job_id", "expires_cutoff"}
    assert (found["status"], found["scope"]) == ("queued_for_gc", "full")
    await until(lambda: not _file(settings, stale).exists())
    assert _file(settings, live).exists()
    answer = await administrator.post(path, json={"scope": "media_objects"})
    assert answer.json()["scope"] == "media_objects"
    audited = await db.fetchval(
        "select count(*) from makeready.audit_log where action = 'media_purge'"
        " and actor like 'admin via%'"
    )
    assert audited == 2


def _file(settings: Settings, job: object) -> Path:
    return settings.media_folder / "results" / f"{job}.jpg"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cleaner looks often."""
    monkeypatch.setattr(media_cleanup, "LOOK_S", (0.05, 0.1))


@pytest.mark.usefixtures("hasty", "service")
async def test_ing_048_the_service_itself_deletes_what_has_expired(
    settings: Settings, db: asyncpg.Connection
) -> None:
    """ING-048: nobody has to ask for it."""
    media = await open_folder(settings.media_folder)
    stored = await media.write("temporary/a.jpg", b"x", "image/jpeg")
    await Album(db, media.name).media("temporary", stored=stored, lives_s=-1)
    await db.execute("update makeready.media_turns set due_at = makeready.now()")
    file = settings.media_folder / stored.path
    await until(lambda: not file.exists())


async def test_ing_075_healthz_tells_of_database_store_and_providers(service: Service) -> None:
    """ING-075: database, storage and a ping of providers, within a second."""

    async def asked() -> httpx2.Response | None:
        answer = await service.client.get("/healthz")
        assert answer.status_code == 200
        return answer if answer.json()["checks"]["providers"] else None  # workers are there

    answer = await until(asked)
    assert answer is not None
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "storage": "ok", "providers": {"local": "ok"}},
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_ing_075_a_store_that_cannot_be_written_is_not_healthy(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from makeready.media_folder import FolderStore  # noqa: PLC0415

    async def full(_: FolderStore) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FolderStore, "check", full)
    answer = await service.client.get("/healthz")
    assert (answer.status_code, error_code(answer)) == (503, "storage_unavailable")
    checks = answer.json()["error"]["details"]["checks"]
    assert (checks["database"], checks["storage"]) == ("ok", "OSError")
    assert str(settings.media_folder) not in answer.text


async def test_ing_075_a_disk_that_hangs_is_told_within_the_second(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, looks = threading.Event(), []

    def hang(folder: Path, room: int = 0) -> IO[bytes]:
        looks.append(room)
        assert go_on.wait(30)
        return nameless(folder, room)

    monkeypatch.setattr(media_folder, "nameless", hang)
    monkeypatch.setattr(photo_health, "KEEP_S", 0.0)
    try:
        for _ in range(2):
            answer = await asyncio.wait_for(service.client.get("/healthz"), 5)
            assert (answer.status_code, error_code(answer)) == (503, "storage_unavailable")
            assert answer.json()["error"]["details"]["checks"]["storage"] == "timeout"
        assert len(looks) == 1  # each would hold a thread
    finally:
        go_on.set()

    async def is_well() -> bool:
        return (await service.client.get("/healthz")).status_code == 200

    await until(is_well)


class Ward:
    """Photos as their health sees them: with providers that hang, or without a database."""

    def __init__(self, said: Mapping[str, str] | None) -> None:
        self.asked = 0
        self._said = said
        self.media = self
        self.pool = self

    async def ping(self) -> Mapping[str, str]:
        self.asked += 1
        if self._said is None:
            raise ConnectionError
        return self._said

    async def check(self) -> None:
        """Is well."""

    async def fetchval(self, _: str) -> int:
        return 1


async def test_ing_075_providers_are_asked_rarely_and_their_trouble_is_theirs() -> None:
    """ING-075: their answer is kept for a while, and none is no reason to be unwell."""
    ward, health = Ward({"gemini": "timeout"}), PhotoHealth()
    parts, providers = await health.checks(ward)  # type: ignore[arg-type]
    assert parts == {"database": "ok", "storage": "ok"}
    assert providers == {"gemini": "timeout"}
    health._until = 0.0
    await health.checks(ward)  # type: ignore[arg-type]
    assert ward.asked == 1
    lonely = Ward(None)
    assert await PhotoHealth().checks(lonely) == (parts, {})  # type: ignore[arg-type]


async def test_ing_080_all_that_photos_need_is_made_by_the_schema(
    service: Service, db: asyncpg.Connection
) -> None:
    """ING-080: the database of a test is what `migrate` makes, and nothing was added by hand."""
    assert (await inspect(db)).is_current
    slots = await db.fetch("select id from makeready.slots order by id")
    assert [row["id"] for row in slots] == [f"slot-{number:03}" for number in range(1, 16)]
    assert await db.fetchval("select count(*) from makeready.providers") >= 7
    assert (await service.client.get("/health/ready")).status_code == 200
