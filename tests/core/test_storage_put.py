"""The short way of an object into the store: signed as the client signs, given up as easily."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from makeready import storage_put
from makeready.config import Secret, Settings
from makeready.storage import open_storage
from makeready.storage_errors import ObjectExists, StorageRefused
from makeready.storage_put import Signer
from tests.support.objectstore import S3

BODY = b"%PDF-1.7 a card" * 100
DIGEST = hashlib.sha256(BODY).digest()
SIGNER = Signer(
    endpoint="http://127.0.0.1:9/",
    region="eu-central-1",
    access_key="anna",
    secret_key=Secret("a secret"),
)


class Counter:
    """A store that answers as it is told, in order, and goes on with its last answer."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.agents: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.agents.append(request.headers["user-agent"])
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers={"etag": '"etag"'})

    @property
    def by_client(self) -> list[bool]:
        """Of each request, whether the client sent it."""
        return ["Botocore" in agent or "aiobotocore" in agent for agent in self.agents]


@pytest.fixture
async def store() -> AsyncIterator[tuple[Counter, Settings]]:
    counter = Counter(200)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", counter.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield (
        counter,
        Settings(
            s3_endpoint=f"http://127.0.0.1:{port}",
            s3_access_key="anna",
            s3_secret_key=Secret("a secret"),
        ),
    )
    await runner.cleanup()


@pytest.mark.parametrize("only_new", [True, False])
@pytest.mark.parametrize("key", ["posm/a-b_c.pdf", "with space/Стол № 7+(2)~.pdf", "a:b=c@d!'*"])
def test_it_signs_as_the_client_does(
    monkeypatch: pytest.MonkeyPatch, key: str, *, only_new: bool
) -> None:
    moment = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)
    url = SIGNER.url("cards", key)
    named = {"x-amz-meta-sha256": DIGEST.hex()} | ({"if-none-match": "*"} if only_new else {})
    request = AWSRequest(method="PUT", url=url, data=BODY, headers=dict(named))
    credentials = Credentials(SIGNER.access_key, SIGNER.secret_key.reveal())
    S3SigV4Auth(credentials, "s3", SIGNER.region).add_auth(request)

    assert SIGNER.headers("PUT", url, DIGEST, named) == dict(request.headers.items())


async def test_one_request_stores_one_object(store: tuple[Counter, Settings]) -> None:
    counter, settings = store
    async with open_storage(settings) as storage:
        stored = await storage.put("posm/card.pdf", BODY, only_new=True)
    assert (stored.etag, stored.sha256) == ("etag", DIGEST)
    assert counter.bodies == [BODY]
    assert counter.by_client == [False]


async def test_what_fails_goes_the_clients_way_again(store: tuple[Counter, Settings]) -> None:
    counter, settings = store
    counter.answers = [503, 503, 200]
    async with open_storage(settings) as storage:
        await storage.put("posm/card.pdf", BODY)
    assert counter.bodies == [BODY] * 3
    assert counter.by_client == [False, True, True]


async def test_what_an_error_means_the_client_says(store: tuple[Counter, Settings]) -> None:
    counter, settings = store
    counter.answers = [403]
    async with open_storage(settings) as storage:
        with pytest.raises(StorageRefused):
            await storage.put("posm/card.pdf", BODY)


@pytest.mark.parametrize("key", ["posm/a-b.pdf", "with space/Стол № 7+(2)~.pdf", "a:b=c@d!'*"])
async def test_a_real_store_takes_it_and_keeps_it_from_others(
    settings: Settings, s3: S3, key: str
) -> None:
    async with open_storage(settings) as storage:
        assert storage.short_way is not None
        known = {"media_type": "application/pdf", "digest": DIGEST, "only_new": True}
        assert await storage.short_way.put(s3.bucket, key, BODY, **known)  # type: ignore[arg-type]
        assert await storage.get(key) == BODY
        assert (await storage.head(key)).sha256 == DIGEST
        with pytest.raises(ObjectExists):
            await storage.put(key, BODY + b"other", only_new=True)
        await storage.delete([key])


async def test_a_listing_is_read_to_its_end(
    settings: Settings, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_put, "LISTED", 2)
    assert settings.s3_bucket == s3.bucket
    wanted = {f"posm/один & {number}+%.pdf": number for number in range(1, 6)}
    async with open_storage(settings) as storage:
        assert storage.short_way is not None
        for key, size in wanted.items():
            await storage.put(key, b"x" * size)
        await storage.put("elsewhere", b"x")
        assert await storage.short_way.sizes(s3.bucket, "posm/") == wanted
        assert await storage.sizes("posm/") == wanted
        assert await storage.sizes("nothing/") == {}
        assert await dataclasses.replace(storage, short_way=None).sizes("posm/") == wanted
        await storage.delete([*wanted, "elsewhere"])


async def test_a_listing_that_fails_goes_the_clients_way(
    store: tuple[Counter, Settings],
) -> None:
    counter, settings = store
    counter.answers = [403]
    async with open_storage(settings) as storage:
        with pytest.raises(StorageRefused):
            await storage.sizes("posm/")
    assert counter.by_client == [False, True]


async def test_it_is_taken_only_where_it_leads_straight_to_the_store(
    store: tuple[Counter, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, settings = store
    async with open_storage(Settings(s3_endpoint=settings.s3_endpoint)) as storage:
        assert storage.short_way is None  # the client finds credentials elsewhere
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with open_storage(settings) as storage:
        assert storage.short_way is None
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with open_storage(settings) as storage:
        assert storage.short_way is not None
