"""Brings a database to the schema that this version needs.

Two kinds of file, both plain SQL that `psql -f` runs as well:

- `sql/NNN_subject.sql` describes a subject whole: tables, functions, comments. It is *repeatable*:
  every statement may run again, and the file runs again whenever its checksum changes, in the
  order of names.
- `sql/migrations/NNNN_what.sql` changes what an older version has left behind. It runs once,
  forward only, before the repeatable files; on a new database it is recorded as included and never
  run. A first line `-- transaction: none` marks a file whose single statement cannot run in a
  transaction.

Eight processes may start at once: one applies, the others wait. They *poll* for the advisory lock,
since a session that blocks inside `pg_advisory_lock()` holds a snapshot, and CREATE INDEX
CONCURRENTLY would wait for that snapshot for ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from makeready import __version__
from makeready.errors import MakereadyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OWNER = "makeready_owner"
LOCK_KEY = 0x6D616B65_72656164  # "makeread"
LOCK_POLL_S = 0.2
LOCK_WAIT_S = 300.0
LOCK_TIMEOUT = "5s"

_PROLOGUE = """
do $$
begin
  -- Roles belong to the whole cluster: another database may be creating them at this moment.
  if not exists (select from pg_catalog.pg_roles where rolname = 'makeready_owner') then
    create role makeready_owner nologin;
  end if;
exception when duplicate_object or unique_violation then null;
end $$;
do $$
begin
  -- Since PostgreSQL 16 whoever creates a role may grant it, but is not in it yet.
  set role makeready_owner;
  reset role;
exception when insufficient_privilege then
  begin
    execute pg_catalog.format('grant makeready_owner to %I', current_user);
  exception when unique_violation then null;
  end;
end $$;
create schema if not exists makeready authorization makeready_owner;
"""
_LEDGER = """
create table if not exists makeready.schema_files (
  name       text        not null constraint schema_files_pk primary key,
  kind       text        not null
             constraint schema_files_kind_is_known check (kind in ('subject', 'migration')),
  checksum   text        not null,
  version    text        not null,
  applied_at timestamptz not null default pg_catalog.now()
);
comment on table makeready.schema_files is 'The files of sql/ that this database was made from.';
comment on column makeready.schema_files.name is 'Path below sql/.';
comment on column makeready.schema_files.kind is
  'subject: repeatable, applied when its checksum changes. migration: applied once.';
comment on column makeready.schema_files.checksum is 'SHA-256 of the text applied, in hex.';
comment on column makeready.schema_files.version is 'Version of Makeready that applied it.';
comment on column makeready.schema_files.applied_at is 'When it was applied last.';
"""


Ledger = dict[str, tuple[str, str]]
"""Checksum and version of each file applied, by name."""


class SchemaError(MakereadyError):
    """The database cannot be brought to the schema of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlFile:
    """One file of the schema."""

    name: str
    kind: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """False for a file whose statement refuses to run inside a transaction."""
        return not self.text.startswith("-- transaction: none")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """What the database has, compared with what this version needs."""

    pending: tuple[str, ...]
    """Files that `migrate` would apply."""
    unknown: tuple[str, ...]
    """Files that this version does not have: of another version, or renamed since."""
    is_newer: bool = False
    """A newer version was here: its schema serves this one too, and is not taken back."""

    @property
    def is_current(self) -> bool:
        """True when nothing has to be applied."""
        return self.is_newer or not self.pending


def sql_directory() -> Path:
    """The folder `sql/`: package data in a wheel, the repository's own folder in a checkout."""
    packaged = Path(str(resources.files("makeready"))) / "sql"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "sql"


def sql_files(directories: Iterable[Path] = ()) -> list[SqlFile]:
    """All files of `sql/` and of further directories, in the order in which they apply."""
    found = []
    for directory in (sql_directory(), *directories):
        for kind, pattern in (("migration", "migrations/[0-9]*.sql"), ("subject", "[0-9]*.sql")):
            found += [
                SqlFile(
                    name=str(path.relative_to(directory)), kind=kind, text=path.read_text("utf-8")
                )
                for path in directory.glob(pattern)
            ]
    return sorted(found, key=lambda file: (file.kind != "migration", file.name))


async def inspect(connection: asyncpg.Connection, extra: Sequence[Path] = ()) -> SchemaState:
    """Compares the database's ledger with the files of this version; changes nothing."""
    files = sql_files(extra)
    applied = await _ledger(connection)
    return SchemaState(
        pending=tuple(file.name for file in files if _is_pending(file, applied)),
        unknown=tuple(sorted(set(applied) - {file.name for file in files})),
        is_newer=_is_newer(applied),
    )


async def migrate(dsn: str, extra: Sequence[Path] = ()) -> list[str]:
    """Applies what is missing and returns the names of the files applied.

    Safe to call from many processes at once. All subjects are applied in one transaction. Where a
    newer version has been, nothing is: during an upgrade old processes still start. Raises
    SchemaError when a migration that already ran was edited, when a file fails, or when the lock
    is not to be had in 300 s.
    """
    connection = await asyncpg.connect(
        dsn, timeout=10, server_settings={"application_name": "makeready migrate"}
    )
    try:
        await _lock(connection)
        return await _apply(connection, sql_files(extra))
    finally:
        await connection.close(timeout=5)


async def _lock(connection: asyncpg.Connection) -> None:
    try:
        async with asyncio.timeout(LOCK_WAIT_S):
            # The other side is a process, there is no event to wait for
            while not await connection.fetchval(  # noqa: ASYNC110
                "select pg_try_advisory_lock($1)", LOCK_KEY
            ):
                await asyncio.sleep(LOCK_POLL_S)
    except TimeoutError:
        text = (
            f"another process has been migrating this database for {LOCK_WAIT_S:.0f} s;"
            " look for 'makeready migrate' in pg_stat_activity"
        )
        raise SchemaError(text) from None


async def _apply(connection: asyncpg.Connection, files: Sequence[SqlFile]) -> list[str]:
    applied = await _ledger(connection)
    if _is_newer(applied):
        return []
    _refuse_edited(files, applied)
    pending = [file for file in files if _is_pending(file, applied)]
    if not pending:
        return []
    await _become_owner(connection)
    await connection.execute(_LEDGER)
    migrations = [file for file in pending if file.kind == "migration"]
    if applied:
        for file in migrations:
            await _migrate_one(connection, file)
    async with connection.transaction():
        if not applied:  # a new database: the subjects say what all migrations led to
            for file in migrations:
                await _record(connection, file)
        for file in pending:
            if file.kind == "subject":
                await _run(connection, file)
    return [file.name for file in pending]


async def _become_owner(connection: asyncpg.Connection) -> None:
    try:
        await connection.execute(_PROLOGUE)
        await connection.execute(f"set role {OWNER}; set lock_timeout = '{LOCK_TIMEOUT}'")
    except asyncpg.InsufficientPrivilegeError as error:
        user = await connection.fetchval("select current_user")
        text = (
            f"{user} may not bring up this database: {error}; an administrator runs"
            f" `grant {OWNER} to {user}`, or lets {user} create roles and own the database"
        )
        raise SchemaError(text) from error


def _refuse_edited(files: Sequence[SqlFile], applied: Ledger) -> None:
    edited = [
        file.name
        for file in files
        if file.kind == "migration" and file.name in applied and _is_pending(file, applied)
    ]
    if edited:
        text = f"{', '.join(edited)}: edited after it had run; restore it, write a new migration"
        raise SchemaError(text)


async def _migrate_one(connection: asyncpg.Connection, file: SqlFile) -> None:
    if file.in_transaction:
        async with connection.transaction():
            await _run(connection, file)
    else:
        await _run(connection, file)


async def _run(connection: asyncpg.Connection, file: SqlFile) -> None:
    try:
        await connection.execute(file.text)
    except asyncpg.PostgresError as error:
        kept = "nothing of it was kept" if file.in_transaction else "look at what it has left"
        text = f"{file.name} failed: {error} (SQLSTATE {error.sqlstate}); {kept}"
        raise SchemaError(text) from error
    await _record(connection, file)


async def _record(connection: asyncpg.Connection, file: SqlFile) -> None:
    await connection.execute(
        "insert into makeready.schema_files (name, kind, checksum, version)"
        " values ($1, $2, $3, $4) on conflict (name) do update set checksum = excluded.checksum,"
        " version = excluded.version, applied_at = pg_catalog.now()",
        file.name,
        file.kind,
        file.checksum,
        __version__,
    )


async def _ledger(connection: asyncpg.Connection) -> Ledger:
    if await connection.fetchval("select to_regclass('makeready.schema_files')") is None:
        return {}
    rows = await connection.fetch("select name, checksum, version from makeready.schema_files")
    return {row["name"]: (row["checksum"], row["version"]) for row in rows}


def _is_pending(file: SqlFile, applied: Ledger) -> bool:
    checksum, _ = applied.get(file.name, (None, None))
    return checksum != file.checksum


def _is_newer(applied: Ledger) -> bool:
    own = _numbers(__version__)
    return any(_numbers(version) > own for _, version in applied.values())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall("[0-9]+", version)[:3])
