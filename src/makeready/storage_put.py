"""The short way to the store: a PUT or a listing, signed as the S3 client does, sent once.

The S3 client resolves, prepares and signs each request anew, at three times the cost of the
request itself, and reads a listing of a thousand objects in 0.2 s at a stretch; a thousand small
objects notice both. What the short way does not bring to success goes the client's way: it knows
redirects, repeats, other credentials, and what an error means.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass
from xml.etree import ElementTree as ET

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from makeready.values import Secret

SOCKETS = 32
LISTED = 250
"""Objects asked for at a time: the answer is read within 2 ms."""
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 20.0
_OK = 200
_NOTHING = hashlib.sha256(b"").digest()


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
        self, method: str, url: str, digest: bytes, named: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """What a request is sent with whose body has this SHA-256; `named` headers are signed."""
        request = AWSRequest(method=method, url=url, headers=dict(named or {}))
        credentials = Credentials(self.access_key, self.secret_key.reveal())
        _Known(credentials, digest, self.region).add_auth(request)
        return dict(request.headers.items())


class _Known(S3SigV4Auth):
    """Signs for a body whose SHA-256 the caller knows: it is not taken again."""

    def __init__(self, credentials: Credentials, digest: bytes, region: str) -> None:
        super().__init__(credentials, "s3", region)
        self._digest = digest.hex()

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002
        return self._digest


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
            page = await self._page(url)
            if page is None:
                return None
            keys, is_last = page
            found |= keys
            if is_last or not keys:
                return found
            after = max(keys)

    async def _page(self, url: str) -> tuple[dict[str, int], bool] | None:
        headers = self.signer.headers("GET", url, _NOTHING)
        try:
            async with self.session.get(url, headers=headers, allow_redirects=False) as answer:
                text = await answer.read()
                return _listed(text) if answer.status == _OK else None
        except (aiohttp.ClientError, OSError, TimeoutError, ET.ParseError, ValueError):
            return None


def _listed(text: bytes) -> tuple[dict[str, int], bool]:
    """Sizes by key, and whether this is the end; raises ParseError and ValueError."""
    answer = ET.fromstring(text)  # noqa: S314 - the client trusts the store's XML as far
    space = answer.tag.removesuffix("ListBucketResult")  # some stores name none
    keys = {
        unquote_plus(each.findtext(f"{space}Key", "")): int(each.findtext(f"{space}Size", ""))
        for each in answer.iterfind(f"{space}Contents")
    }
    return keys, answer.findtext(f"{space}IsTruncated") != "true"


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
