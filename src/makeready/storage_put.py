"""The short way to the store: a PUT or a listing, signed here (SigV4), sent once.

The S3 client resolves, prepares and signs each request anew, at six times the cost of the request
itself, and reads a listing of a thousand objects in 0.2 s at a stretch; a thousand small objects
notice both. What the short way does not bring to success goes the client's way: it knows
redirects, repeats, other credentials, and what an error means.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from makeready.values import Secret

SOCKETS = 32
LISTED = 250
"""Objects asked for at a time: the answer is read within 1 ms."""
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 20.0
_ALGORITHM = "AWS4-HMAC-SHA256"
_OK = 200
_NOTHING = hashlib.sha256(b"").digest()
_ENTRY = re.compile(r"<Key>([^<]*)</Key>.*?<Size>(\d+)</Size>", re.DOTALL)


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
        self,
        method: str,
        url: str,
        digest: bytes,
        named: Mapping[str, str] | None = None,
        *,
        at: datetime | None = None,
    ) -> dict[str, str]:
        """What a request is sent with whose body has this SHA-256; `named` headers are signed.

        Names are lower case; a query of the URL is in order and quoted.
        """
        moment = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        parts, stated = urlsplit(url), digest.hex()
        own = {"host": parts.netloc, "x-amz-content-sha256": stated, "x-amz-date": moment}
        signed = dict(sorted((own | dict(named or {})).items()))
        names = ";".join(signed)
        lines = [f"{name}:{value}" for name, value in signed.items()]
        request = "\n".join([method, parts.path, parts.query, *lines, "", names, stated])
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
        named = {"x-amz-meta-sha256": digest.hex()} | ({"if-none-match": "*"} if only_new else {})
        headers = self.signer.headers("PUT", url, digest, named)
        headers |= {"content-type": media_type, "content-length": str(len(body))}
        try:
            async with self.session.put(
                url, data=_whole(body), headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.headers.get("etag") if answer.status == _OK else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def sizes(self, bucket: str, prefix: str) -> dict[str, int] | None:
        """Sizes by key of what lies below a prefix, or None: they are not known."""
        found: dict[str, int] = {}
        after = ""
        while True:
            words = {"list-type": "2", "max-keys": str(LISTED), "prefix": prefix}
            words |= {"encoding-type": "url"} | ({"start-after": after} if after else {})
            query = urlencode(sorted(words.items()), quote_via=quote, safe="")
            url = f"{self.signer.url(bucket, '')}?{query}"
            text = await self._text(url)
            if text is None:
                return None
            keys = {unquote_plus(key): int(size) for key, size in _ENTRY.findall(text)}
            found |= keys
            if not keys or "<IsTruncated>true</IsTruncated>" not in text:
                return found
            after = max(keys)

    async def _text(self, url: str) -> str | None:
        headers = self.signer.headers("GET", url, _NOTHING)
        try:
            async with self.session.get(url, headers=headers, allow_redirects=False) as answer:
                text = await answer.text("utf-8")
                return text if answer.status == _OK else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
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
