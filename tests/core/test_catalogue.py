"""Finding a version: pinned for ever, in force for half a minute, else as shipped (RND-045)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from makeready import render
from makeready.config import Settings
from makeready.documents import versions
from makeready.documents.catalogue import IN_FORCE_S, Catalogue, TypeUnusable
from makeready.documents.designs import design_of, read_payload
from makeready.documents.shipped import document_type
from makeready.errors import NotFound
from makeready.storage import Storage, open_storage
from makeready.storage_errors import StorageUnavailable
from tests.support.designs import PIXEL, label_text
from tests.support.objectstore import S3
from tests.support.rendering import Press
from tests.support.versions import checked, hash_of, tried


@pytest.fixture
async def press(db: asyncpg.Connection) -> Press:
    await render.sync_types(db, render.shipped_types())
    return Press(db)


@pytest.fixture
async def storage(settings: Settings, s3: S3) -> AsyncIterator[Storage]:
    assert settings.s3_bucket == s3.bucket
    async with open_storage(settings) as opened:
        yield opened
        await opened.delete([facts.key async for facts in opened.listing()])


class Time:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def catalogue(db: asyncpg.Connection, storage: Storage, time: Time) -> Catalogue:
    return Catalogue(db, storage, clock=time)


async def published(press: Press, storage: Storage, doc: str, text: str) -> str:
    """Puts a payload in force; its hash."""
    payload = read_payload(text)
    uploads = await versions.store_assets(press.db, storage, doc, payload)
    number = await versions.draft(press.db, doc, payload.design, uploads)
    await checked(press, doc, number)
    await tried(press, doc, number)
    await versions.publish(press.db, doc, number)
    return await hash_of(press.db, doc, number)


def letter_text(**changes: Any) -> str:
    """The letter as it is shipped, as a payload."""
    return json.dumps({**design_of(document_type("letter")), **changes})


async def alerts(db: asyncpg.Connection) -> list[dict[str, Any]]:
    rows = await db.fetch(
        "select context from makeready.alerts where event = 'bad_config_fallback'"
    )
    return [json.loads(row[0]) for row in rows]


async def test_what_is_shipped_is_taken_from_the_program(catalogue: Catalogue) -> None:
    letter = document_type("letter")
    assert await catalogue.load("letter", letter.version) is letter
    assert await catalogue.load("letter", "") is letter


async def test_a_version_comes_with_the_bytes_of_its_assets_and_is_kept(
    press: Press, storage: Storage, catalogue: Catalogue
) -> None:
    version = await published(press, storage, "parcel_label", label_text())
    doc = await catalogue.load("parcel_label", version)
    assert doc.is_foreign
    assert doc.assets["logo.png"].content == PIXEL
    assert (doc.options.paper, doc.options.landscape) == ("A5", True)
    await press.db.execute(
        "delete from makeready.document_type_versions where doc_id = $1", doc.id
    )
    assert await catalogue.load("parcel_label", version) is doc


async def test_the_version_in_force_is_asked_for_again_after_half_a_minute_rnd_045(
    press: Press, storage: Storage, catalogue: Catalogue, time: Time
) -> None:
    first = await published(press, storage, "parcel_label", label_text())
    assert (await catalogue.current("parcel_label")).version == first
    second = await published(press, storage, "parcel_label", label_text(tier="paid"))
    time.now = IN_FORCE_S - 1
    assert (await catalogue.current("parcel_label")).version == first
    time.now = IN_FORCE_S
    assert (await catalogue.current("parcel_label")).version == second
    third = await published(press, storage, "parcel_label", label_text(enabled=False))
    catalogue.forget("parcel_label")
    assert (await catalogue.current("parcel_label")).version == third


@pytest.mark.parametrize("damage", ["unknown", "asset", "bytes", "design"])
async def test_what_cannot_be_used_is_printed_as_shipped_with_one_alert_rnd_045(
    press: Press, storage: Storage, catalogue: Catalogue, time: Time, damage: str
) -> None:
    assets = json.loads(label_text())["assets"]
    version = await published(press, storage, "letter", letter_text(assets=assets))
    if damage == "unknown":
        version = "no such hash"
    elif damage == "asset":
        await storage.delete([facts.key async for facts in storage.listing("types/")])
    elif damage == "bytes":
        for key in [facts.key async for facts in storage.listing("types/")]:
            await storage.put(key, b"other bytes", media_type="image/png")
    else:
        await press.db.execute(
            "update makeready.document_type_versions set design = design - 'schema'"
            " where origin = 'staff'"
        )
    for turn in range(3):
        time.now = turn * 100.0
        assert await catalogue.load("letter", version) is document_type("letter")
    (told,) = await alerts(press.db)
    assert (told["doc_id"], told["version"]) == ("letter", version)
    assert told["reason"]
    with pytest.raises(TypeUnusable):
        await catalogue.load("letter", version, may_fall_back=False)


async def test_a_broken_version_of_what_is_not_shipped_fails_clearly(
    press: Press, storage: Storage, catalogue: Catalogue
) -> None:
    version = await published(press, storage, "parcel_label", label_text())
    await storage.delete([facts.key async for facts in storage.listing("types/")])
    with pytest.raises(TypeUnusable, match=r"logo\.png is gone from storage"):
        await catalogue.load("parcel_label", version)
    assert await alerts(press.db) == []


async def test_storage_that_is_away_is_no_reason_to_fall_back(
    press: Press, storage: Storage, settings: Settings
) -> None:
    assets = json.loads(label_text())["assets"]
    version = await published(press, storage, "letter", letter_text(assets=assets))
    async with open_storage(replace(settings, s3_endpoint="http://127.0.0.1:1")) as away:
        with pytest.raises(StorageUnavailable):
            await Catalogue(press.db, away).load("letter", version)
    assert await alerts(press.db) == []


async def test_source_file_knows_only_what_is_shipped(
    press: Press, storage: Storage, db: asyncpg.Connection
) -> None:
    version = await published(press, storage, "parcel_label", label_text())
    ours = await published(press, storage, "letter", letter_text(tier="paid"))
    catalogue = Catalogue(db, storage, source="file")
    assert await catalogue.load("letter", ours) is document_type("letter")
    assert await catalogue.current("letter") is document_type("letter")
    with pytest.raises(NotFound):
        await catalogue.load("parcel_label", version)


async def test_what_nobody_knows_is_not_found(catalogue: Catalogue) -> None:
    for name in ("nothing", "x" * 10_000, "html"):
        with pytest.raises(NotFound):
            await catalogue.current(name)


async def test_what_is_kept_is_bounded(
    press: Press, storage: Storage, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("makeready.documents.catalogue.BYTES_KEPT", len(PIXEL))
    first = await published(press, storage, "parcel_label", label_text())
    second = await published(press, storage, "parcel_label", label_text(tier="paid"))
    one = await catalogue.load("parcel_label", first)
    other = await catalogue.load("parcel_label", second)
    assert await catalogue.load("parcel_label", second) is other
    assert await catalogue.load("parcel_label", first) is not one
