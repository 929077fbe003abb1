"""The published description is true: valid, complete, and kept by every answer of the service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from makeready.config import Settings
from makeready.media_folder import open_folder
from makeready_http.app import OPERATIONS
from makeready_http.openapi import openapi
from makeready_http.operations import Operation
from tests.support.album import Album
from tests.support.card_office import done, pressed, restaurant, shown, template
from tests.support.generating import Cardroom
from tests.support.photo_office import picture, register
from tests.support.rendering import Press
from tests.support.service import Member, Person, Service

Things = Callable[[Operation], Awaitable[dict[str, str]]]
EXAMPLES = 8
QUICK = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# A body may fit its schema and break a rule that no schema tells.
NOT_ASKED = [positive_data_acceptance]
schemathesis.serializer.alias("application/pdf", "application/octet-stream")
READING = [operation for operation in OPERATIONS if operation.method == "GET"]
"""They spoil nothing for each other, so several are asked of one service."""
PORTIONS = [READING[place : place + 6] for place in range(0, len(READING), 6)]
PORTIONS += [[operation] for operation in OPERATIONS if operation.method != "GET"]
SCHEMA = schemathesis.openapi.from_dict(openapi(OPERATIONS))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With DEBUG every route is there."""
    return replace(settings, debug=True)


@pytest.fixture
def things(
    anna: Person, administrator: Member, press: Press, cardroom: Cardroom, settings: Settings
) -> Things:
    """Makes what an operation may be about; the ids of that."""

    made: dict[str, dict[str, str]] = {}

    async def make(operation: Operation) -> dict[str, str]:
        if operation.path.startswith(("/posm", "/restaurants")):
            kind, making = "cards", lambda: _things_of_cards(administrator, cardroom)
        elif operation.path.startswith(("/api", "/public", "/ingest")):
            kind, making = "booths", lambda: _things_of_booths(administrator, press.db, settings)
        else:
            kind, making = "documents", lambda: _things(anna, press)
        if kind not in made:
            made[kind] = await making()
        return made[kind]

    return make


def test_operations_are_named_once() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_summary_says_what_the_operation_does(operation: Operation) -> None:
    verb = operation.summary.split()[0]
    assert verb.islower()
    assert verb.endswith("s")
    assert not operation.summary.endswith(".")


def test_what_makes_a_thing_takes_a_key() -> None:
    without = {
        "post_me_tokens",  # its secret is told once, so nothing could be told again
        "post_admin_staff",  # a name is taken once
        "post_posm_assets",  # equal bytes are one asset
        "post_api_template_media_register",  # a setting has one image
        "post_api_media_register",  # gone within a minute
        "post_admin_config_key_draft",  # a second draft of the same is no harm, and can be told
    }
    lacking = {
        operation.name
        for operation in OPERATIONS
        if operation.method == "POST" and 201 in operation.answers and not operation.is_idempotent
    }
    assert lacking == without


def test_only_renders_answer_with_the_end_of_a_render() -> None:
    told = {each.tag for each in OPERATIONS if "render_failed" in each.all_errors()}
    assert told
    assert "table cards" not in told


async def test_the_document_is_served(service: Service) -> None:
    found = (await service.client.get("/openapi.json")).json()
    assert found["openapi"] == "3.1.0"
    assert found == openapi(OPERATIONS)


async def test_the_page_loads_nothing_from_elsewhere(service: Service) -> None:
    page = await service.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"""(src|href|action|url)\s*[=(]\s*["']?[^"'>)]*://""", page.text)
    assert all(operation.path in page.text for operation in OPERATIONS)


# The service in the next thread draws its pauses from the same generator.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("operations", PORTIONS, ids=lambda portion: portion[0].name)
async def test_no_answer_is_a_surprise(
    service: Service,
    anna: Person,
    administrator: Member,
    operations: list[Operation],
    things: Things,
) -> None:
    tokens = {"anyone": None, "user": anna.secret, "staff": administrator.secret}
    for operation in operations:
        headers = _headers(tokens[operation.who])
        await asyncio.to_thread(_attack, service.url, operation, headers, {})
        if "{" in operation.path:
            known = await things(operation)
            await asyncio.to_thread(_attack, service.url, operation, headers, known)


async def _things(anna: Person, press: Press) -> dict[str, str]:
    """Ids of what is there: a pack of Anna's with a file."""
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    claimed = await press.one()
    await press.publish(claimed)
    (document,) = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    return {
        "pack_id": pack,
        "job_id": str(claimed.job.id),
        "file_id": document["file_id"],
        "doc_id": "invoice",
        "key": "invoice",
    }


async def _things_of_cards(staff: Member, cardroom: Cardroom) -> dict[str, str]:
    """The same of table cards; a generation that is done, as far as the database knows."""
    where, what = await restaurant(staff), (await template(staff))["id"]
    made = (await pressed(staff, what, restaurant_id=where)).json()["id"]
    await done(cardroom, made)
    table = (await shown(staff, made))["tables"][0]["uuid"]
    return {
        "restaurant_id": where,
        "template_id": what,
        "generation_id": made,
        "table": table,
        "uuid": table,
    }


async def _things_of_booths(
    staff: Member, db: asyncpg.Connection, settings: Settings
) -> dict[str, str]:
    """The same of photos: one that is done, an image of its slot, and one that is served."""
    media = await open_folder(settings.data_dir / "media")
    album, job = Album(db, media.name), uuid4()
    path = f"results/{job}.jpg"
    await album.photo(job=job, stored=await media.write(path, picture(), "image/jpeg"))
    shown = await media.write(f"temporary/{job}.jpg", picture(), "image/jpeg")
    return {
        "slot_id": "slot-001",
        "provider_id": "gemini",
        "template_id": (await register(staff)).json()["id"],
        "job_id": str(job),
        "id": str(await album.media("temporary", stored=shown)),
    }


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _attack(
    url: str, operation: Operation, headers: Mapping[str, str], known: Mapping[str, str]
) -> None:
    """Sends what the document allows and what it does not; every answer must be promised."""
    described = SCHEMA[operation.path][operation.method]
    cases = described.as_strategy()
    if not known and (operation.query or operation.body or "{" in operation.path):
        cases |= described.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @QUICK
    @given(case=cases)
    def attack(case: Any) -> None:
        heads = case.meta.components.get(ParameterLocation.HEADER)
        is_forged = heads is not None and heads.mode is GenerationMode.NEGATIVE
        for name in known.keys() & (case.path_parameters or {}).keys():
            case.path_parameters[name] = known[name]
        case.call_and_validate(
            base_url=url, headers=None if is_forged else dict(headers), excluded_checks=NOT_ASKED
        )

    attack()
