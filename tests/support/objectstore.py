"""One S3 server for a whole run of the tests, with a bucket of its own for each test."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from makeready.embedded.objectstore import EmbeddedObjectStore
from tests.support.cluster import scratch_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    """What a client needs to know of the server."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    region: str

    def call(self, method: str, path: str, body: bytes = b"") -> int:
        """One signed request, blocking; the status of the answer."""
        request = AWSRequest(method=method, url=f"{self.endpoint}{path}", data=body)
        credentials = Credentials(self.access_key, self.secret_key)
        S3SigV4Auth(credentials, "s3", self.region).add_auth(request)
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=10)
        try:
            connection.request(method, path, body, dict(request.headers))
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def running_store() -> Iterator[EmbeddedObjectStore]:
    """Starts the server; everything it stored is thrown away at the end."""
    folder = scratch_folder()
    store = EmbeddedObjectStore(folder / "s3")
    try:
        store.start()
        yield store
    finally:
        store.kill()
        shutil.rmtree(folder, ignore_errors=True)
