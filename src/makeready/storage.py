"""Object storage over S3: where the bytes of documents, cards and photos live.

Workers put, the HTTP service signs links, chores delete. All speak path style and SigV4, so
any server with the S3 interface serves. Two clients share one set of credentials: one for the
endpoint that this process reaches, one that only signs links for the endpoint that the *user*
reaches (the host is part of the signature). A signed link is a secret: it is never logged here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError

from makeready.config import Settings
from makeready.storage_errors import (
    CALL_TIMEOUT_S,
    MISSING_CODES,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
    answered,
)
from makeready.storage_put import ShortWay, Signer, open_short_way

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client  # stubs: not there at run time

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 20.0  # silence on the line, not the whole transfer
ATTEMPTS = 3  # of one request, by botocore, with its jittered backoff
CHECK_TIMEOUT_S = 2.0
SLOWEST_BYTES_PER_S = 1 << 20  # a body adds its size at this rate to the time a call may take
CONNECTIONS = 32
CHUNK_BYTES = 256 << 10
DELETE_BATCH = 1000  # what one S3 request may name
REPEAT_WITHIN = timedelta(hours=1)
LINK_MAX_S = 7 * 24 * 3600  # SigV4's own bound
OCTETS = "application/octet-stream"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """What the store knows of one object."""

    bucket: str
    key: str
    byte_count: int
    etag: str  # without quotes
    media_type: str = OCTETS
    sha256: bytes | None = None
    """Stated by whoever put the object; absent in listings and for foreign objects."""
    modified_at: datetime | None = None


def kept(stored: ObjectFacts) -> dict[str, Any]:
    """What is stored, as `makeready.file_keep` takes it."""
    return {
        "bucket": stored.bucket,
        "key": stored.key,
        "media_type": stored.media_type,
        "size_bytes": stored.byte_count,
        "sha256": (stored.sha256 or b"").hex(),
        "etag": stored.etag,
    }


def kept_json(stored: ObjectFacts) -> str:
    """`kept` as text."""
    return json.dumps(kept(stored))


def object_of(kept_facts: Mapping[str, Any]) -> ObjectFacts:
    """What `makeready.file_facts` says of a stored file."""
    return ObjectFacts(
        bucket=kept_facts["bucket"],
        key=kept_facts["key"],
        byte_count=kept_facts["size_bytes"],
        etag=kept_facts["etag"] or "",
        media_type=kept_facts["media_type"],
        sha256=bytes.fromhex(kept_facts["sha256"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One bucket. Made by `open_storage`; safe to use from many tasks."""

    client: S3Client
    signer: S3Client
    bucket: str
    region: str
    short_way: ShortWay | None = None
    """None where only the client knows endpoint or credentials."""

    def of_bucket(self, bucket: str) -> Storage:
        """The same store with another bucket: that of a file which was stored in it."""
        return self if bucket == self.bucket else replace(self, bucket=bucket)

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        media_type: str = OCTETS,
        only_new: bool = False,
        digest: bytes | None = None,
    ) -> ObjectFacts:
        """Stores the bytes and returns what was stored.

        With `only_new` a key that is taken raises ObjectExists; but the same bytes, put within the
        last hour, count as stored: a lost answer makes the client repeat what had succeeded.
        `digest`: SHA-256 of the body, from a caller who knows it.
        """
        digest = digest or hashlib.sha256(body).digest()
        with upload_logged(self.bucket, key, len(body)):
            etag = await self._put(key, body, media_type, digest, only_new=only_new)
        return ObjectFacts(
            bucket=self.bucket,
            key=key,
            byte_count=len(body),
            etag=etag,
            media_type=media_type,
            sha256=digest,
        )

    async def get(self, key: str) -> bytes:
        """The whole object; for what is known to be small. Raises ObjectMissing."""
        return await self.get_range(key)

    async def get_range(self, key: str, first: int = 0, last: int | None = None) -> bytes:
        """The bytes from `first` to `last`, both included. Raises ObjectMissing."""
        async with aclosing(self.stream(key, first=first, last=last)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def stream(
        self, key: str, *, first: int = 0, last: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `first` to `last` (included; None: the end), at most 256 KiB at a time.

        Raises ObjectMissing, and StorageUnavailable also in the middle: go on from there.
        """
        wanted: dict[str, Any] = {"Bucket": self.bucket, "Key": key}
        if first or last is not None:
            wanted["Range"] = f"bytes={first}-{'' if last is None else last}"
        async with answered("get", key):
            answer = await self.client.get_object(**wanted)
        async with answer["Body"] as body:
            while True:
                async with answered("get", key):
                    chunk = await body.read(CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    async def head(self, key: str) -> ObjectFacts:
        """What the store knows of the object. Raises ObjectMissing."""
        async with answered("head", key):
            found = await self.client.head_object(Bucket=self.bucket, Key=key)
        return ObjectFacts(
            bucket=self.bucket,
            key=key,
            byte_count=found["ContentLength"],
            etag=found["ETag"].strip('"'),
            media_type=found.get("ContentType", OCTETS),
            sha256=_stated_digest(found.get("Metadata", {})),
            modified_at=found["LastModified"],
        )

    async def listing(self, prefix: str = "") -> AsyncGenerator[ObjectFacts, None]:
        """All objects below the prefix in the order of their keys, read 1,000 at a time."""
        after: dict[str, Any] = {}
        while True:
            async with answered("list", prefix):
                page = await self.client.list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, **after
                )
            for item in page.get("Contents", ()):
                yield ObjectFacts(
                    bucket=self.bucket,
                    key=item["Key"],
                    byte_count=item["Size"],
                    etag=item["ETag"].strip('"'),
                    modified_at=item["LastModified"],
                )
            if not page.get("IsTruncated"):
                return
            after = {"ContinuationToken": page["NextContinuationToken"]}

    async def sizes(self, prefix: str) -> dict[str, int]:
        """Sizes by key of all objects below the prefix."""
        if self.short_way is not None:
            async with answered("list", prefix):
                found = await self.short_way.sizes(self.bucket, prefix)
            if found is not None:
                return found
        async with aclosing(self.listing(prefix)) as listed:
            return {each.key: each.byte_count async for each in listed}

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes the objects; one that is not there counts as deleted. Raises if any stays."""
        for start in range(0, len(keys), DELETE_BATCH):
            batch = keys[start : start + DELETE_BATCH]
            async with answered("delete", batch[0]):
                answer = await self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True},
                )
            left = [e for e in answer.get("Errors", ()) if e.get("Code") not in MISSING_CODES]
            if left:
                first = left[0].get("Key", "")
                raise StorageUnavailable(f"{len(left)} objects were not deleted, first {first}")

    async def presign(
        self,
        key: str,
        *,
        valid_s: int,
        filename: str | None = None,
        is_inline: bool = False,
        bucket: str | None = None,
    ) -> str:
        """A link that lets whoever holds it read the object for `valid_s` s. Needs no network.

        `bucket` is that of a file which was stored while another bucket was in use.
        """
        bucket = self.bucket if bucket is None else bucket
        wanted: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if filename is not None:
            shown = content_disposition(filename, is_inline=is_inline)
            wanted["ResponseContentDisposition"] = shown
        log = _log.bind(bucket=bucket, key=key)
        try:
            link = await self.signer.generate_presigned_url(
                "get_object", Params=wanted, ExpiresIn=min(valid_s, LINK_MAX_S)
            )
        except (BotoCoreError, ValueError) as error:
            log.warning("s3_presign_error", reason=type(error).__name__)
            text = f"no link to {key} can be signed; check the credentials"
            raise StorageRefused(text) from None
        log.info("s3_presign_ok", expires_in_s=valid_s)
        return link

    async def ensure_bucket(self) -> bool:
        """Creates the bucket unless it is there; many may call it at once. True: created."""
        try:
            await self.check(timeout_s=CALL_TIMEOUT_S)
        except ObjectMissing:
            return await self._create_bucket()
        return False

    async def check(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        """Raises unless the bucket answers: ObjectMissing, StorageRefused, StorageUnavailable."""
        async with answered("check", self.bucket, timeout_s=timeout_s):
            await self.client.head_bucket(Bucket=self.bucket)

    async def _put(
        self, key: str, body: bytes, media_type: str, digest: bytes, *, only_new: bool
    ) -> str:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if only_new else {}
        allowed_s = CALL_TIMEOUT_S + len(body) / SLOWEST_BYTES_PER_S
        try:
            async with answered("put", key, timeout_s=allowed_s):
                if self.short_way is not None and (
                    etag := await self.short_way.put(
                        self.bucket,
                        key,
                        body,
                        media_type=media_type,
                        digest=digest,
                        only_new=only_new,
                    )
                ):
                    return etag.strip('"')
                answer = await self.client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,
                    ContentType=media_type,
                    Metadata={"sha256": digest.hex()},
                    **condition,
                )
        except ObjectExists:
            found = await self.head(key)
            # An older one may be a stray that the orphan scan is about to delete.
            age = datetime.now(UTC) - (found.modified_at or datetime.min.replace(tzinfo=UTC))
            if found.sha256 != digest or age > REPEAT_WITHIN:
                raise
            return found.etag
        return answer["ETag"].strip('"')

    async def _create_bucket(self) -> bool:
        place: dict[str, Any] = {}
        if self.region != "us-east-1":  # the one region that refuses to be named
            place["CreateBucketConfiguration"] = {"LocationConstraint": self.region}
        try:
            async with answered("create bucket", self.bucket):
                await self.client.create_bucket(Bucket=self.bucket, **place)
        except ObjectExists:
            await self.check(timeout_s=CALL_TIMEOUT_S)  # another was faster; but is it ours?
            return False
        return True


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage]:
    """Opens both clients. Nothing is sent: storage that is down keeps no process from starting."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_client(settings, settings.s3_url))
        signer = await stack.enter_async_context(_client(settings, settings.s3_presign_url))
        endpoint, key, secret = settings.s3_url, settings.s3_access_key, settings.s3_secret_key
        short_way = None
        if endpoint and key and secret:
            own = Signer(
                endpoint=endpoint, region=settings.s3_region, access_key=key, secret_key=secret
            )
            if own.is_direct:
                short_way = await stack.enter_async_context(open_short_way(own))
        yield Storage(
            client=client,
            signer=signer,
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            short_way=short_way,
        )


def content_disposition(filename: str, *, is_inline: bool = False) -> str:
    """The header that names a download, with an ASCII form for old clients (RFC 6266)."""
    how = "inline" if is_inline else "attachment"
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


_session = functools.cache(get_session)  # reading botocore's models takes 0.25 s: once a process


def _client(settings: Settings, endpoint: str | None) -> Any:
    key, secret = settings.s3_access_key, settings.s3_secret_key
    is_complete = bool(key and secret)  # half of a pair is a fault to the client: like none
    return _session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=key if is_complete else None,
        aws_secret_access_key=secret.reveal() if secret and is_complete else None,
        config=AioConfig(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            # Newer checksums by default break many servers with the S3 interface.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def upload_logged(bucket: str, key: str, byte_count: int) -> Iterator[None]:
    """Writes down that an upload begins, and how it ends."""
    log = _log.bind(bucket=bucket, key=key, size_bytes=byte_count)
    started = time.monotonic()
    log.info("s3_upload_start")
    try:
        yield
    except StorageError as error:
        log.warning("s3_upload_error", reason=type(error).__name__, ms=_ms_since(started))
        raise
    log.info("s3_upload_ok", ms=_ms_since(started))


def _stated_digest(metadata: Mapping[str, str]) -> bytes | None:
    try:
        return bytes.fromhex(metadata["sha256"])
    except (KeyError, ValueError):
        return None


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
