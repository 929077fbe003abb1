"""Faults of what a command needs, told in one line: what, which setting, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from makeready.config import Settings
from makeready.errors import MakereadyError
from makeready.storage import open_storage
from makeready.storage_errors import ObjectMissing, StorageError, StorageRefused

MIGRATE = "run `makeready migrate` first"
STORAGE_TIMEOUT_S = 10.0
_MEND: dict[type[asyncpg.PostgresError], str] = {
    asyncpg.InvalidAuthorizationSpecificationError: "check user and password in {setting}",
    asyncpg.InvalidCatalogNameError: "make that database, or name another one in {setting}",
    asyncpg.InvalidSchemaNameError: MIGRATE,
    asyncpg.UndefinedTableError: MIGRATE,
    asyncpg.UndefinedFunctionError: MIGRATE,
    asyncpg.UndefinedColumnError: MIGRATE,
    asyncpg.InsufficientPrivilegeError: "give the user of {setting} that right, or name another "
    "user there; `makeready migrate` needs one that may create roles and a schema",
    asyncpg.TooManyConnectionsError: "raise its max_connections, or stop something that uses it",
    asyncpg.CannotConnectNowError: "it starts or stops: try again in a moment",
    asyncpg.ReadOnlySQLTransactionError: "it is a standby: let {setting} name the primary",
}


class StorageFault(MakereadyError):
    """The object store is away, or refuses; the text says what to do."""


class DatabaseFault(MakereadyError):
    """The database is away, or refuses; the text says what to do."""


@contextmanager
def database_told(settings: Settings, *, direct: bool = False) -> Iterator[None]:
    """Turns what a connection or a query raises into DatabaseFault; for a block without other I/O.

    `direct`: the block uses the listener's URL.
    """
    own = direct and settings.database_direct_url is not None
    with told_of("DATABASE_DIRECT_URL" if own else "DATABASE_URL"):
        yield


@contextmanager
def told_of(setting: str) -> Iterator[None]:
    """The same for a block with the database that a setting names."""
    try:
        yield
    except MakereadyError:  # made to be shown
        raise
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseFault(database_complaint(error, setting)) from error


def database_complaint(error: Exception, setting: str = "DATABASE_URL") -> str:
    """The line that says what the database, or the lack of it, has come to and how to mend it."""
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, ValueError):  # asyncpg's own: a parameter of the URL
        return f"{setting} cannot be used: {lines[0]}"
    if not isinstance(error, asyncpg.PostgresError):
        return (
            f"the database does not answer ({lines[0]}): see that the server runs, and that "
            f"{setting} names its host and port"
        )
    if isinstance(error, asyncpg.InvalidParameterValueError) and "makeready_" in lines[0]:
        return f"the database says: {lines[0]}: {MIGRATE}"  # our roles are not there
    for kind, mend in _MEND.items():
        if isinstance(error, kind):
            return f"the database says: {lines[0]}: {mend.format(setting=setting)}"
    return f"the database says: {lines[0]} (SQLSTATE {error.sqlstate})"


async def check_storage(settings: Settings) -> None:
    """Raises StorageFault unless S3 answers within 10 s; a missing bucket is no fault."""
    try:
        async with open_storage(settings) as storage:
            await storage.check(timeout_s=STORAGE_TIMEOUT_S)
    except ObjectMissing:
        return
    except StorageRefused as error:
        raise StorageFault(
            f"S3 refuses ({error}): check S3_ACCESS_KEY, S3_SECRET_KEY, S3_REGION and S3_BUCKET"
        ) from error
    except StorageError as error:
        raise StorageFault(
            f"S3 does not answer at {settings.s3_url} ({error}): see that it runs, and that "
            "S3_ENDPOINT names it"
        ) from error
