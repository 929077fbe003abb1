"""Object storage against a real S3 server.

Proves RND-024, RND-026, RND-027, RND-028, RND-029, RND-031.
"""

from __future__ import annotations

import dataclasses
import http.client
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import anyio
import pytest
from structlog.testing import capture_logs

from makeready import storage as storage_module
from makeready.config import Secret, Settings
from makeready.storage import Storage, content_disposition, open_storage
from makeready.storage_errors import (
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from tests.support.objectstore import S3

PDF = b"%PDF-1.7 not much of a document"


@pytest.fixture
async def storage(s3: S3, settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(settings) as opened:
        assert opened.bucket == s3.bucket
        yield opened
        await opened.delete([facts.key async for facts in opened.listing()])


def fetch(link: str) -> tuple[int, dict[str, str], bytes]:
    """What anybody who holds the link gets."""
    parts = urlsplit(link)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


async def test_what_was_put_comes_back_with_its_facts_rnd_024(storage: Storage) -> None:
    stored = await storage.put("a/b.pdf", PDF, media_type="application/pdf")

    assert await storage.get("a/b.pdf") == PDF
    found = await storage.head("a/b.pdf")
    assert found.modified_at is not None
    assert dataclasses.replace(found, modified_at=None) == stored
    assert stored.byte_count == len(PDF)


async def test_keys_may_hold_any_letters(storage: Storage) -> None:
    key = "пачка/счёт №1 + «a&b».pdf"
    await storage.put(key, PDF)

    assert await storage.get(key) == PDF
    assert [facts.key async for facts in storage.listing("пачка/")] == [key]
    assert fetch(await storage.presign(key, valid_s=60))[2] == PDF


async def test_a_range_is_inclusive_and_may_be_open_ended(storage: Storage) -> None:
    await storage.put("digits", b"0123456789")

    assert await storage.get_range("digits", 2, 4) == b"234"
    assert await storage.get_range("digits", 7) == b"789"


async def test_a_large_object_is_streamed_in_chunks(storage: Storage) -> None:
    body = bytes(range(256)) * 4096
    await storage.put("large", body)

    chunks = [chunk async for chunk in storage.stream("large")]
    assert b"".join(chunks) == body
    assert max(map(len, chunks)) <= 256 << 10


async def test_a_listing_goes_beyond_one_page_and_delete_beyond_one_request(
    storage: Storage,
) -> None:
    keys = [f"many/{number:04}" for number in range(1003)]
    limiter = anyio.CapacityLimiter(16)

    async def put(key: str) -> None:
        async with limiter:
            await storage.put(key, b"x")

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(put, key)

    assert [facts.key async for facts in storage.listing("many/")] == keys
    await storage.delete([*keys, "many/never-there"])
    assert [facts async for facts in storage.listing("many/")] == []


async def test_a_missing_object_is_named_as_such(storage: Storage) -> None:
    with pytest.raises(ObjectMissing):
        await storage.get("nothing")
    with pytest.raises(ObjectMissing):
        await storage.head("nothing")


async def test_only_new_never_overwrites_other_bytes_rnd_026(storage: Storage) -> None:
    await storage.put("one", b"first", only_new=True)

    with pytest.raises(ObjectExists):
        await storage.put("one", b"second", only_new=True)
    assert await storage.get("one") == b"first"


async def test_only_new_takes_the_same_bytes_for_a_repeated_request_rnd_026(
    storage: Storage,
) -> None:
    first = await storage.put("one", b"same", only_new=True)

    assert await storage.put("one", b"same", only_new=True) == first


async def test_only_new_takes_no_stray_of_long_ago_for_its_own(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.put("one", b"same", only_new=True)
    monkeypatch.setattr(storage_module, "REPEAT_WITHIN", timedelta(seconds=-60))

    with pytest.raises(ObjectExists):
        await storage.put("one", b"same", only_new=True)


async def test_the_bucket_is_made_once_however_many_ask_rnd_031(
    s3: S3, settings: Settings
) -> None:
    fresh = dataclasses.replace(settings, s3_bucket=f"{s3.bucket}-fresh")
    made: list[bool] = []
    async with open_storage(fresh) as storage:
        with pytest.raises(ObjectMissing):
            await storage.check()

        async def ensure() -> None:
            made.append(await storage.ensure_bucket())

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ensure)
        assert await storage.ensure_bucket() is False
        await storage.check()
    assert True in made
    assert s3.call("DELETE", f"/{s3.bucket}-fresh") == 204


async def test_a_link_is_signed_for_the_public_endpoint_rnd_027(
    s3: S3, settings: Settings
) -> None:
    # The same server under another name: the host is part of the signature.
    public = s3.endpoint.replace("127.0.0.1", "localhost")
    outer = dataclasses.replace(settings, s3_presign_endpoint=public)
    async with open_storage(outer) as storage:
        await storage.put("a.pdf", PDF)
        link = await storage.presign("a.pdf", valid_s=60, filename="счёт.pdf")

        assert link.startswith(f"{public}/")
        status, headers, body = fetch(link)
        assert (status, body) == (200, PDF)
        assert "filename*=UTF-8''%D1%81" in headers["content-disposition"]
        assert fetch(link.replace("localhost", "127.0.0.1"))[0] == 403
        await storage.delete(["a.pdf"])


async def test_a_link_may_be_to_another_bucket_rnd_027(storage: Storage) -> None:
    own = await storage.presign("renders/a.pdf", valid_s=60)
    other = await storage.presign("renders/a.pdf", valid_s=60, bucket="before")

    assert urlsplit(own).path == f"/{storage.bucket}/renders/a.pdf"
    assert urlsplit(other).path == "/before/renders/a.pdf"


async def test_a_link_opens_nothing_else_rnd_028(storage: Storage) -> None:
    await storage.put("mine.pdf", PDF)
    await storage.put("yours.pdf", b"secret")
    link = await storage.presign("mine.pdf", valid_s=60)

    assert fetch(link)[0] == 200
    assert fetch(link.replace("mine", "yours"))[0] == 403
    assert fetch(link.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"))[0] == 403


async def test_no_log_line_has_a_link_or_a_secret_rnd_029(
    storage: Storage, settings: Settings
) -> None:
    with capture_logs() as lines:
        await storage.put("a.pdf", PDF)
        link = await storage.presign("a.pdf", valid_s=60, filename="a.pdf")

    events = [line["event"] for line in lines]
    assert events == ["s3_upload_start", "s3_upload_ok", "s3_presign_ok"]  # RND-041
    told = repr(lines)
    assert "X-Amz" not in told
    assert "Signature" not in told
    assert link not in told
    assert settings.s3_secret_key is not None
    assert settings.s3_secret_key.reveal() not in told


async def test_a_link_that_cannot_be_signed_is_logged_rnd_041(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    bare = dataclasses.replace(settings, s3_access_key=None)
    async with open_storage(bare) as storage:
        with capture_logs() as lines, pytest.raises(StorageRefused):
            await storage.presign("a.pdf", valid_s=60)

    assert [(line["event"], line["key"]) for line in lines] == [("s3_presign_error", "a.pdf")]


@pytest.mark.usefixtures("s3")
async def test_wrong_credentials_are_refused_and_logged_without_them(settings: Settings) -> None:
    wrong = dataclasses.replace(settings, s3_secret_key=Secret("0wrong0secret0"))
    async with open_storage(wrong) as storage:
        with capture_logs() as lines, pytest.raises(StorageRefused) as raised:
            await storage.put("a.pdf", PDF)
        with pytest.raises(StorageRefused):
            await storage.check()

    assert [line["event"] for line in lines] == ["s3_upload_start", "s3_upload_error"]
    assert "0wrong0secret0" not in repr(lines) + str(raised.value)


async def test_a_store_that_is_away_is_told_apart_within_seconds(settings: Settings) -> None:
    away = dataclasses.replace(
        settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key=Secret("b")
    )
    async with open_storage(away) as storage:
        with anyio.fail_after(5), pytest.raises(StorageUnavailable):
            await storage.check()
        with anyio.fail_after(15), pytest.raises(StorageUnavailable) as raised:
            await storage.put("a.pdf", PDF)

        assert "127.0.0.1" not in str(raised.value)
        assert "X-Amz-Signature" in await storage.presign("a.pdf", valid_s=60)


async def test_every_fault_of_storage_has_one_base(storage: Storage) -> None:
    with pytest.raises(StorageError) as raised:
        await storage.get("nothing")

    assert raised.value.code == "storage_unavailable"


def test_a_download_name_survives_old_and_new_clients() -> None:
    expected = "attachment; filename=\"____.pdf\"; filename*=UTF-8''%D1%81%D1%87%D1%91%D1%82.pdf"

    assert content_disposition("счёт.pdf") == expected
    assert content_disposition('a";b.pdf').startswith('attachment; filename="a__b.pdf";')
