"""Photos in work: the way of one through the workers of a process, and what comes out."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from PIL import Image as Pillow

from makeready import ingest, picture_local, picture_work
from makeready.config import Settings
from makeready.media_bucket import BucketStore
from makeready.sealing import Sealer, about_key
from makeready.storage import open_storage
from makeready.values import Secret
from makeready_workers.providers.base import Call, Image, Task
from tests.support.objectstore import S3
from tests.support.photo_lab import RESULT, brings, photo_lab, scripted
from tests.support.photo_pictures import (
    QUARTERS,
    SECRET_PLACE,
    corners,
    is_near,
    opened,
    quarters,
    saved,
    told_place,
    turned,
)
from tests.support.provider_server import KEY, ok, provider_server, refuse
from tests.support.waiting import until

WINDOW = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}
PHOTO = saved(quarters(), exif=told_place())


async def test_echo_gives_the_very_bytes_back(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    """ING-047 and ING-056: stored under its id, with its checksum, each step in the log once."""
    heic = saved(quarters(), "HEIF")
    async with photo_lab(db, settings, tmp_path) as lab:
        row = await lab.processed(PHOTO)
        assert lab.result(row) == PHOTO
        assert row["result_path"] == f"results/{row['id']}.jpg"
        assert await lab.log(row["id"]) == [
            "received",
            "dispatched",
            "provider_responded",
            "succeeded",
        ]
        assert lab.ended == [row["id"]]
        other = await lab.processed(heic, "image/heic")
        assert lab.result(other) == heic
        assert other["result_path"].endswith(".heic")


@pytest.mark.parametrize("number", [None, errno.EPERM])
async def test_echo_loads_no_photo_and_copies_it_only_where_it_must(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int | None,
) -> None:
    """ING-009: a photo of two gigabytes takes no memory and, in a folder, no second place."""
    link = os.link

    def refused(source: str, *values: Any, **named: Any) -> None:
        if number is not None and Path(source).stat().st_nlink:
            raise OSError(number, os.strerror(number))
        link(source, *values, **named)

    monkeypatch.setattr(os, "link", refused)
    async with photo_lab(db, settings, tmp_path) as lab:
        row = await lab.processed(PHOTO)
        payload = tmp_path / "payloads" / str(row["id"]) / "IMG.JPG"
        assert lab.result(row) == PHOTO
        assert payload.samefile(tmp_path / row["result_path"]) is (number is None)
        payload.unlink()
        assert lab.result(row) == PHOTO


async def test_ing_027_four_tasks_with_connections_of_their_own_role(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    # ING-027
    async with photo_lab(db, settings, tmp_path, tasks=9) as lab:
        assert lab.worker.statistics().tasks == 4
        role = await lab.worker._pool.fetchval("select current_user")
        limit = await lab.worker._pool.fetchval("show statement_timeout")
        assert (role, limit) == ("makeready_worker", "5s")
        row = await db.fetchrow("select tasks, queues, host from makeready.workers")
        assert row is not None
        assert (row["tasks"], row["queues"]) == (4, ["ingest"])
        assert row["host"] == lab.media.host


async def test_before_and_after_are_kept_small_beside_the_result(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    async with photo_lab(db, settings, tmp_path) as lab:
        large = saved(turned(6, (800, 600)), exif=told_place(6))
        row = await lab.processed(large)
        await lab.media.delete([f"payloads/{row['id']}/IMG.JPG"])  # as after the answer
        query = "select after_picture from makeready.photos where id = $1"
        await until(lambda: db.fetchval(query, row["id"]), what="thumbnails")
        names = [f"{row['id']}.after.jpg", f"{row['id']}.before.jpg", f"{row['id']}.jpg"]
        assert lab.results() == names
        before = opened((tmp_path / "results" / names[1]).read_bytes())
        assert before.size == (320, 240)
        assert is_near(corners(before), QUARTERS)


async def test_a_photo_is_framed_by_the_template_of_its_slot(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    frame = Pillow.new("RGBA", (120, 80), (0, 0, 0, 255))
    frame.paste((0, 0, 0, 0), (30, 20, 90, 60))
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot(
            "local", "frame", {"window": {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}}
        )
        missing = await lab.processed(PHOTO)
        assert missing["failure_reason"] == "provider_error"
        assert (await lab.problem(missing["id"]))["reason"] == "rejected"
        await lab.template("frame", saved(frame, "PNG"))
        row = await lab.processed(PHOTO)
        image = opened(lab.result(row))
        assert image.size == (120, 80)
        assert is_near(corners(image.crop((30, 20, 90, 60))), QUARTERS)
        assert SECRET_PLACE not in lab.result(row)


async def test_what_a_provider_gets_and_what_is_noted_of_it(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ING-010: prepared for the provider; ING-041: the type is that of the bytes."""
    provider = scripted(monkeypatch, brings)
    heic = saved(turned(1), "HEIF", exif=told_place())
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call", {"style": "knight"})
        row = await lab.processed(heic, "image/heic")
        assert row["failure_reason"] is None
        assert lab.result(row) == RESULT.content
        assert (row["result_mime"], row["result_path"]) == (
            "image/png",
            f"results/{row['id']}.png",
        )
        assert (row["done_by"], row["provider_reference"]) == ("webhook", "order-1")
        assert float(row["cost"]) == 0.25
        (task,) = provider.tasks
        assert task.settings == {"style": "knight"}
        assert task.photo.media_type == "image/jpeg"
        assert SECRET_PLACE not in task.photo.content
        assert is_near(corners(opened(task.photo.content)), QUARTERS)
        query = "select calls, failures, cost::float8 from makeready.provider_usage"
        usage = await until(lambda: db.fetch(query), what="the counters")
        assert [tuple(each) for each in usage] == [(1, 0, 0.25)]


async def test_ing_029_the_settings_are_those_of_the_moment_it_came(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = asyncio.Event()

    async def waits(_: Task, __: Call) -> Image:
        await free.wait()
        return RESULT

    provider = scripted(monkeypatch, waits)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call", {"style": "old"})
        photos = [await lab.post(PHOTO) for _ in range(5)]  # the last one waits for a task
        await until(lambda: len(provider.tasks) == 4, what="four tasks at work")
        await lab.slot("local", "echo")
        free.set()
        row = await lab.end_of(photos[-1].job_id)
        assert lab.result(row) == RESULT.content
    assert [task.settings for task in provider.tasks] == [{"style": "old"}] * 5


async def test_ing_052_a_provider_fetches_the_photo_by_a_link_until_its_deadline(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links: list[str] = []

    async def asks(_: Task, call: Call) -> Image:
        links.append(await call.public_url())
        return RESULT

    scripted(monkeypatch, asks)
    async with photo_lab(db, settings, tmp_path, public_url="https://photos.example/") as lab:
        await lab.slot("webhook", "call")
        row = await lab.processed(PHOTO)
        found = await db.fetchrow("select * from makeready.media_objects where kind = 'prepared'")
        assert found is not None
        assert links == [f"https://photos.example/public/media/{found['id']}"]
        assert found["expires_at"] == row["expires_at"]
        assert found["path"] == f"payloads/{row['id']}/prepared.jpg"
        assert SECRET_PLACE not in (tmp_path / found["path"]).read_bytes()


async def test_without_an_address_of_its_own_no_link_is_given(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def asks(_: Task, call: Call) -> Image:
        await call.public_url()
        return RESULT

    scripted(monkeypatch, asks)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        row = await lab.processed(PHOTO)
        assert "PUBLIC_BASE_URL" in (await lab.problem(row["id"]))["message"]


async def test_a_key_that_is_used_up_rests_in_the_database_too(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    """ING-071: sealed keys are opened for the call alone and stand in no row and no log."""
    master = Secret("ab" * 32)
    sealer = Sealer.of(master)
    async with provider_server() as server:
        server.will(refuse(429, retry_s=40), ok())
        await db.execute(
            "update makeready.providers set options = $1 where id = 'gemini'",
            json.dumps(server.options("gemini", model="m")),
        )
        for text in ("first-" + KEY, "second-" + KEY):
            key = await db.fetchval("select gen_random_uuid()")
            nonce, sealed = sealer.seal(text, about_key("gemini", key))
            await db.execute(
                "insert into makeready.provider_keys (id, provider_id, nonce, sealed, created_at,"
                " updated_at) values ($1, 'gemini', $2, $3, clock_timestamp(), now())",
                key,
                nonce,
                sealed,
            )
        async with photo_lab(db, settings, tmp_path, secrets_key=master) as lab:
            await lab.slot("gemini", "edit", {"prompt": "As a knight."})
            row = await lab.processed(PHOTO)
            assert row["failure_reason"] is None
            sent = [each.headers["x-goog-api-key"] for each in server.asked]
            assert sent == ["first-" + KEY, "second-" + KEY]
            query = "select count(*) from makeready.provider_keys where rests_until > now()"
            await until(lambda: db.fetchval(query), what="a key that rests")
            logged = await db.fetchval("select json_agg(l)::text from makeready.processing_logs l")
            assert KEY not in logged + str(row)


@pytest.mark.parametrize("operation", ["filter", "frame", "call"])
async def test_ing_077_pictures_are_worked_on_in_threads_alone(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    """ING-077 and ING-040: the event loop decodes, encodes and hashes nothing."""
    threads: dict[str, str] = {}

    def watched(module: Any, name: str) -> None:
        call: Callable[..., Any] = getattr(module, name)

        def watch(*values: Any, **named: Any) -> Any:
            threads[name] = threading.current_thread().name
            return call(*values, **named)

        monkeypatch.setattr(module, name, watch)

    for module, name in (
        (picture_work, "prepare"),
        (picture_work, "verified"),
        (picture_work, "thumbnail"),
        (picture_local, "filtered"),
        (picture_local, "framed"),
    ):
        watched(module, name)
    scripted(monkeypatch, brings)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.template("frame", saved(quarters(), "PNG"))
        steps = {"steps": [{"operation": "sepia"}]} if operation == "filter" else {}
        await lab.slot("webhook" if operation == "call" else "local", operation, steps)
        row = await lab.processed(PHOTO)
        assert row["failure_reason"] is None
        await until(lambda: "thumbnail" in threads)
    assert {"filter": "filtered", "frame": "framed", "call": "prepare"}[operation] in threads
    assert "verified" in threads
    assert all(name.startswith(("picture", "thumbnail")) for name in threads.values())


async def test_photos_lie_in_a_bucket_as_well(
    db: asyncpg.Connection, settings: Settings, s3: S3, tmp_path: Path
) -> None:
    async with open_storage(settings) as storage:
        media = BucketStore(storage, tmp_path)
        async with photo_lab(db, settings, tmp_path, media) as lab:
            row = await lab.processed(PHOTO)
            assert row["result_store"] == f"bucket:{s3.bucket}"
            query = "select after_picture from makeready.photos where id = $1"
            await until(lambda: db.fetchval(query, row["id"]), what="thumbnails")
            paths = [each.path async for each in media.listing("results/")]
            assert len(paths) == 3
            await media.delete([*paths, f"payloads/{row['id']}/IMG.JPG"])


@pytest.mark.parametrize("limit", ["WAITING_MOST", "HELD_MOST"])
async def test_thumbnails_wait_for_no_more_than_a_few(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    monkeypatch.setattr(f"makeready_workers.photo_results.{limit}", 0)
    scripted(monkeypatch, brings)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        row = await lab.processed(PHOTO)
    assert lab.results() == [f"{row['id']}.png"]


async def test_thumbnails_of_a_result_that_is_gone_go_too(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    async def gone(*_: Any) -> bool:
        asked.append(lab.results())
        return False

    monkeypatch.setattr(ingest, "pictured", gone)
    async with photo_lab(db, settings, tmp_path) as lab:
        row = await lab.processed(PHOTO)
        await until(lambda: asked and len(lab.results()) == 1, what="thumbnails deleted")
    assert len(asked[0]) == 3
    assert lab.results() == [f"{row['id']}.jpg"]


async def test_a_provider_in_ones_own_network_is_reached_if_its_options_say_so(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    """ING-075: also by the question whether it is there."""
    async with provider_server() as server, photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        options = server.options("webhook")
        options |= {
            "url": f"{server.url}/hook/run",
            "body": {"kind": "raw"},
            "answer": {"kind": "image"},
            "ping": {"url": f"{server.url}/hook/ping", "method": "GET"},
        }
        found = []
        for is_allowed in (True, False):
            await db.execute(
                "update makeready.providers set options = $1 where id = 'webhook'",
                json.dumps(options | {"allows_private": is_allowed, "max_attempts": 1}),
            )
            row = await lab.processed(PHOTO)
            found.append((row["failure_reason"], (await lab.worker.ping())["webhook"] == "ok"))
    assert found == [(None, True), ("provider_error", False)]
