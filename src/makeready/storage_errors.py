"""What can go wrong with object storage, and where its faults become these classes.

StorageError             MakereadyError; the HTTP service answers `storage_unavailable`
├── StorageUnavailable   not reached, too slow, or busy: try again
├── StorageRefused       credentials or rights: somebody must mend the settings
├── ObjectMissing        no such key, or no such bucket
└── ObjectExists         the key holds other bytes and must not be overwritten
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientError as TransportError
from botocore.exceptions import BotoCoreError, ClientError

from makeready.errors import MakereadyError

CALL_TIMEOUT_S = 45.0  # one call with all its attempts

MISSING_CODES = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
_EXISTS = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_REFUSED = frozenset({
    "AccessDenied", "AllAccessDisabled", "403",
    "InvalidAccessKeyId", "SignatureDoesNotMatch",
})  # fmt: skip


class StorageError(MakereadyError):
    """Object storage did not do what was asked."""

    code = "storage_unavailable"


class StorageUnavailable(StorageError):
    """Object storage cannot be reached, is too slow or asks to come back later; try again."""


class StorageRefused(StorageError):
    """Object storage refuses the credentials or the bucket; somebody must mend the settings."""


class ObjectMissing(StorageError):
    """There is no object with this key, or no such bucket."""


class ObjectExists(StorageError):
    """The key is taken by other bytes, and the call must not overwrite."""


@asynccontextmanager
async def answered(
    operation: str, what: str, *, timeout_s: float = CALL_TIMEOUT_S
) -> AsyncIterator[None]:
    """Bounds a call and turns failures into this module's errors, without the cause's text.

    Causes name endpoints and headers; the message says what was tried and leaves those out.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise _class_of(code)(f"{operation} {what}: the object store answered {code}") from error
    except (BotoCoreError, TransportError, OSError, TimeoutError) as error:
        reason = type(error).__name__
        raise StorageUnavailable(f"{operation} {what}: no answer ({reason})") from error


def _class_of(code: str) -> type[StorageError]:
    if code in MISSING_CODES:
        return ObjectMissing
    if code in _EXISTS or code.startswith("BucketAlready"):
        return ObjectExists
    return StorageRefused if code in _REFUSED else StorageUnavailable
