"""Images of slots, and images that are served for a while."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from makeready.config import Settings
from tests.support.objectstore import S3
from tests.support.photo_office import picture, put_slot, register
from tests.support.service import Member, Service, error_code

PATH = "/api/template-media"


@pytest.fixture
def root(settings: Settings) -> Path:
    return settings.data_dir / "media"


def files(root: Path) -> list[str]:
    """All that lies in the store, but what names it."""
    folders = ("templates", "temporary", "payloads", "results")
    found = [path for name in folders for path in (root / name).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(root)) for path in found)


async def test_ing_069_an_image_is_taken_in_shown_and_deleted(
    operator: Member, viewer: Member, root: Path
) -> None:
    # ING-069
    content = picture(kind="PNG")
    answer = await register(operator, "slot-002", "frame", content, label="Зима")
    made = answer.json()

    assert answer.status_code == 201
    assert (made["slot_id"], made["setting_key"], made["label"]) == ("slot-002", "frame", "Зима")
    assert (made["mime"], made["size_bytes"]) == ("image/png", len(content))
    assert made["checksum"] == hashlib.sha256(content).hexdigest()
    assert made["uploaded_by"] == "operator"
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    (path,) = files(root)
    assert path.startswith("templates/")

    assert (await viewer.get(f"{PATH}/{made['id']}")).json() == made
    every = (await viewer.get(PATH)).json()
    assert every == {"data": [made], "meta": {"total": 1}}
    assert (await viewer.get(PATH, params={"slot_id": "slot-001"})).json()["data"] == []
    sent = await viewer.get(made["content_url"])
    assert sent.content == content
    assert sent.headers["content-type"] == "image/png"
    assert sent.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in sent.headers["content-security-policy"]
    known = {"If-None-Match": sent.headers["etag"]}
    assert (await viewer.get(made["content_url"], headers=known)).status_code == 304

    gone = await operator.client.delete(f"{PATH}/{made['id']}")
    assert gone.status_code == 204
    for answer in (
        await viewer.get(f"{PATH}/{made['id']}"),
        await viewer.get(made["content_url"]),
        await operator.client.delete(f"{PATH}/{made['id']}"),
    ):
        assert (answer.status_code, error_code(answer)) == (404, "template_not_found")


async def test_ing_069_every_type_of_a_booth_is_taken(operator: Member) -> None:
    # ING-069
    for kind in ("PNG", "JPEG", "WEBP", "HEIF"):
        answer = await register(operator, key=kind.lower(), content=picture(kind=kind))
        assert answer.status_code == 201, answer.text
    found = (await operator.get(PATH)).json()["data"]
    assert [each["mime"] for each in found] == [
        "image/heic",
        "image/jpeg",
        "image/png",
        "image/webp",
    ]


async def test_ing_069_a_setting_has_one_image(
    operator: Member, root: Path, db: asyncpg.Connection
) -> None:
    # ING-069
    first = (await register(operator)).json()
    second = await register(operator, content=picture(colour=(1, 2, 3)))
    assert (second.status_code, error_code(second)) == (409, "conflict")
    assert second.json()["error"]["details"]["id"] == first["id"]
    assert len(files(root)) == 1  # what was refused left nothing

    third = await register(operator, content=picture(colour=(1, 2, 3)), replace="true")
    made = third.json()
    assert third.status_code == 201
    assert made["id"] == first["id"]
    assert made["checksum"] != first["checksum"]
    assert len(files(root)) == 2  # photos that were let in before may still need the first
    kept = await db.fetchrow("select * from makeready.media_objects where kind = 'template'")
    assert kept is not None
    assert kept["sha256"].hex() == first["checksum"]
    shown = await operator.client.get(f"/public/media/{kept['id']}")
    assert shown.status_code == 404


async def test_ing_069_of_uploads_at_once_one_is_kept(operator: Member, root: Path) -> None:
    # ING-069
    answers = await asyncio.gather(
        *(register(operator, content=picture(colour=(n, n, n))) for n in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 4
    assert len(files(root)) == 1


async def test_ing_069_what_a_slot_needs_is_kept_unless_forced(operator: Member) -> None:
    # ING-069
    made = (await register(operator)).json()["id"]
    other = (await register(operator, key="unused")).json()["id"]
    frame: dict[str, Any] = {"operation_id": "frame", "settings_json": {}}
    assert (await put_slot(operator, **frame)).status_code == 200

    kept = await operator.client.delete(f"{PATH}/{made}")
    assert (kept.status_code, error_code(kept)) == (409, "conflict")
    assert kept.json()["error"]["details"] == {
        "reason": "in_use",
        "slot_id": "slot-001",
        "setting_key": "frame",
    }
    assert (await operator.client.delete(f"{PATH}/{other}")).status_code == 204
    stated = {"slot_id": "slot-002", "setting_key": "frame", "force": "true"}
    assert (await operator.client.delete(f"{PATH}/{made}", params=stated)).status_code == 404
    stated["slot_id"] = "slot-001"
    assert (await operator.client.delete(f"{PATH}/{made}", params=stated)).status_code == 204
    again = await put_slot(operator, **frame)
    assert again.status_code == 422


async def test_what_is_no_image_for_a_slot_is_refused(operator: Member, root: Path) -> None:
    async def code(answer: httpx2.Response) -> tuple[int, str]:
        return answer.status_code, error_code(answer)

    wrong_type = await register(operator, content=b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert await code(wrong_type) == (415, "unsupported_media_type")
    assert wrong_type.json()["error"]["details"]["detected"] == "image/svg+xml"
    assert await code(await register(operator, "slot-099")) == (404, "slot_not_found")
    assert await code(await register(operator, key="no key")) == (422, "validation_failed")
    assert await code(await register(operator, replace="maybe")) == (400, "invalid_request")
    assert await code(await register(operator, key="")) == (400, "invalid_request")
    assert await code(await register(operator, label="x" * 201)) == (422, "validation_failed")
    without = await operator.post(f"{PATH}/register", data={"slot_id": "slot-001"}, files={})
    assert without.status_code == 400
    large = await register(operator, content=picture() + bytes(33 << 20))
    assert await code(large) == (413, "payload_too_large")
    assert files(root) == []


async def test_ing_064_who_may(service: Service, viewer: Member) -> None:
    assert (await register(viewer)).status_code == 403
    assert (await viewer.client.delete(f"{PATH}/{uuid4()}")).status_code == 403
    assert (await viewer.post("/api/media/register")).status_code == 403
    assert (await service.client.get(PATH)).status_code == 401
    assert (await service.client.get(f"{PATH}/{uuid4()}/content")).status_code == 401


async def registered(staff: Member, **fields: str) -> httpx2.Response:
    """Uploads an image that is served for a while."""
    return await staff.post(
        "/api/media/register",
        data=fields,
        files={"file": ("a.jpg", picture(), "image/jpeg")},
    )


async def test_an_image_is_served_for_as_long_as_a_booth_waits(
    operator: Member, service: Service, db: asyncpg.Connection
) -> None:
    """ING-051, ING-066."""
    answer = await registered(operator)
    made = answer.json()
    assert answer.status_code == 201, answer.text
    assert made["public_url"] == f"{service.url}/public/media/{made['id']}"
    row = await db.fetchrow(
        "select * from makeready.media_objects where id = $1", UUID(made["id"])
    )
    assert row is not None
    assert (row["expires_at"] - row["created_at"]).total_seconds() == 48
    assert row["created_by"] == "operator"
    public = f"/public/media/{made['id']}"
    assert (await service.client.get(public)).content == picture()
    await db.execute("update makeready.media_objects set expires_at = makeready.now()")
    late = await service.client.get(public)
    assert (late.status_code, error_code(late)) == (410, "media_link_expired")


async def test_an_image_may_be_about_a_photo_that_is_there(operator: Member, root: Path) -> None:
    for job in ("no id", "", str(uuid4())):
        answer = await registered(operator, job_id=job)
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
        assert answer.json()["error"]["details"]["field"] == "job_id"
    assert files(root) == []


async def test_too_many_are_told_when_to_come_again(
    operator: Member, db: asyncpg.Connection, root: Path
) -> None:
    await db.execute("select makeready.throttle_set('media_register', 2, '1 minute')")
    answers = [await registered(operator) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert error_code(answers[2]) == "rate_limited"
    assert int(answers[2].headers["retry-after"]) >= 1
    assert len(files(root)) == 2


class TestBucket:
    """Where photos lie in object storage."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return dataclasses.replace(settings, media_store="bucket")

    async def test_ing_069_images_lie_there_too(self, operator: Member, s3: S3) -> None:
        # ING-069
        content = picture()
        made = (await register(operator, content=content)).json()
        assert (await operator.get(made["content_url"])).content == content
        changed = picture(colour=(1, 2, 3))
        assert (await register(operator, content=changed, replace="true")).status_code == 201
        assert (await operator.get(made["content_url"])).content == changed
        assert s3.bucket
