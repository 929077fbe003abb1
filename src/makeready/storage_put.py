"""The short way of an object into the store: one PUT, signed here (SigV4), sent once.

The S3 client resolves, prepares and signs each request anew, at six times the cost of the request
itself; a thousand small objects notice. What the short way does not bring to success goes the
client's way: it knows redirects, repeats, other credentials, and what an error means.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from makeready.values import Secret

SOCKETS = 32
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 20.0
_ALGORITHM = "AWS4-HMAC-SHA256"
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Whose requests these are, and where to."""

    endpoint: str
    region: str
    access_key: str
    secret_key: Secret

    @property
    def is_direct(self) -> bool:
        """Whether no proxy lies between, as far as the environment says."""
        parts = urlsplit(self.endpoint)
        is_meant = parts.scheme in getproxies() or "all" in getproxies()
        return not is_meant or bool(proxy_bypass(parts.hostname or ""))

    def url(self, bucket: str, key: str) -> str:
        """In path style."""
        return f"{self.endpoint.rstrip('/')}/{quote(f'{bucket}/{key}')}"

    def headers(
        self, url: str, digest: bytes, *, only_new: bool, at: datetime | None = None
    ) -> dict[str, str]:
        """What a PUT of a body with this SHA-256 is sent with, its signature among it."""
        moment = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        parts, stated = urlsplit(url), digest.hex()
        signed = {
            "host": parts.netloc,
            **({"if-none-match": "*"} if only_new else {}),
            "x-amz-content-sha256": stated,
            "x-amz-date": moment,
            "x-amz-meta-sha256": stated,
        }
        names = ";".join(signed)
        lines = [f"{name}:{value}" for name, value in signed.items()]
        request = "\n".join(["PUT", parts.path, "", *lines, "", names, stated])
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        told = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
        signature = hmac.digest(self._key(scope), told.encode(), "sha256").hex()
        signed.pop("host")  # the transport writes it
        signed["authorization"] = (
            f"{_ALGORITHM} Credential={self.access_key}/{scope},"
            f" SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def _key(self, scope: str) -> bytes:
        key = f"AWS4{self.secret_key.reveal()}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortWay:
    """Made by `open_short_way`; safe to use from many tasks."""

    session: aiohttp.ClientSession
    signer: Signer

    async def put(
        self, bucket: str, key: str, body: bytes, *, media_type: str, digest: bytes, only_new: bool
    ) -> str | None:
        """The object's etag, or None: it is not known to be stored."""
        url = self.signer.url(bucket, key)
        headers = self.signer.headers(url, digest, only_new=only_new)
        headers |= {"content-type": media_type, "content-length": str(len(body))}
        try:
            async with self.session.put(
                url, data=_whole(body), headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.headers.get("etag") if answer.status == _OK else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


@asynccontextmanager
async def open_short_way(signer: Signer) -> AsyncIterator[ShortWay]:
    """Opens its own few connections; nothing is sent."""
    is_plain = signer.endpoint.startswith("http:")
    trusted = None if is_plain else ssl.create_default_context(cafile=os.getenv("AWS_CA_BUNDLE"))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=SOCKETS, ssl=trusted or True),
        timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
        auto_decompress=False,
    ) as session:
        yield ShortWay(session=session, signer=signer)


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    """The body as it is: the transport takes it without a copy."""
    yield body
