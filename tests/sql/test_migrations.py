"""Bringing a database to the schema: by many at once, whole, and the same from any start."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from makeready import schema
from makeready.embedded.binaries import find_binaries
from makeready.schema import LOCK_KEY, SchemaError, inspect, migrate, sql_files
from tests.support.cluster import Cluster
from tests.support.core import QUEUES_SQL, Core
from tests.support.waiting import until

FINGERPRINT = QUEUES_SQL.with_name("fingerprint.sql").read_text("utf-8")
PROGRAM = """
import asyncio, sys
from makeready.schema import migrate
print(len(asyncio.run(migrate(sys.argv[1]))))
"""
TABLE = """
create table if not exists makeready.things (id integer constraint things_pk primary key{});
comment on table makeready.things is 'Things.';
"""
_NUMBERS = itertools.count(1)


@pytest.fixture
async def empty(cluster: Cluster, admin: asyncpg.Connection) -> AsyncIterator[str]:
    """A database without any schema."""
    name = f"empty_{next(_NUMBERS)}"
    await admin.execute(f"create database {name}")
    yield cluster.dsn(name)
    await admin.execute(f"drop database {name} with (force)")


def write(folder: Path, **files: str) -> Path:
    """A folder of further files: `s500_x` is a subject, `m0001_x` a migration."""
    (folder / "migrations").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        place = folder / "migrations" if name.startswith("m") else folder
        (place / f"{name[1:]}.sql").write_text(text, "utf-8")
    return folder


async def ask(dsn: str, text: str) -> object:
    """One value from a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(text)
    finally:
        await connection.close()


async def fingerprint(dsn: str) -> list[str]:
    """All that could differ between two installations."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row["line"] for row in await connection.fetch(FINGERPRINT)]
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_eight_processes_start_at_once_and_one_migrates(empty: str) -> None:
    """B3 and G1: multi-master start."""
    people = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, empty, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(8)
    ]
    answers = [await person.communicate() for person in people]
    assert [person.returncode for person in people] == [0] * 8
    counts = sorted(int(out) for out, _ in answers)
    assert counts == [0] * 7 + [len(sql_files())]


async def test_a_current_database_is_left_alone(dsn: str) -> None:
    before = await ask(dsn, "select max(applied_at) from makeready.schema_files")
    assert await migrate(dsn) == []
    assert await ask(dsn, "select max(applied_at) from makeready.schema_files") == before


@pytest.mark.slow
async def test_running_every_file_again_changes_nothing(empty: str) -> None:
    dsn = empty
    await migrate(dsn)
    before = await fingerprint(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("set role makeready_owner")
    for file in sql_files():
        await connection.execute(file.text)
    await connection.close()
    assert await fingerprint(dsn) == before


@pytest.mark.slow
async def test_every_file_runs_in_psql_too(empty: str) -> None:
    dsn = empty
    await migrate(dsn)
    before = await fingerprint(dsn)
    psql = find_binaries() / "psql"
    if not psql.is_file():
        pytest.skip("this server came without psql")
    command = [
        str(psql),
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        dsn,
        "-c",
        "set role makeready_owner",
    ]
    for path in sorted(schema.sql_directory().glob("[0-9]*.sql")):
        command += ["-f", str(path)]
    run = await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert await fingerprint(dsn) == before


async def test_a_changed_subject_is_applied_again(dsn: str, tmp_path: Path) -> None:
    view = "create or replace view makeready.things as select {} as n"
    folder = write(tmp_path, s500_things=view.format(1))
    assert await migrate(dsn, [folder]) == ["500_things.sql"]
    assert await migrate(dsn, [folder]) == []
    write(tmp_path, s500_things=view.format(2))
    assert await migrate(dsn, [folder]) == ["500_things.sql"]
    assert await ask(dsn, "select n from makeready.things") == 2


async def test_a_migration_that_was_edited_is_refused(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m9001_one="create table makeready.one (n int)")
    assert await migrate(dsn, [folder]) == ["migrations/9001_one.sql"]
    write(tmp_path, m9001_one="create table makeready.one (n bigint)", s500_x="select 1")
    with pytest.raises(SchemaError, match="9001_one"):
        await migrate(dsn, [folder])
    text = "select count(*) from makeready.schema_files where name = '500_x.sql'"
    assert await ask(dsn, text) == 0


async def test_a_migration_runs_once(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m9001_one="create table makeready.one (n int)")
    await migrate(dsn, [folder])
    write(tmp_path, m9002_two="insert into makeready.one values (1)")
    assert await migrate(dsn, [folder]) == ["migrations/9002_two.sql"]
    assert await migrate(dsn, [folder]) == []
    assert await ask(dsn, "select count(*) from makeready.one") == 1


async def test_a_file_that_fails_leaves_nothing(dsn: str, tmp_path: Path) -> None:
    folder = write(
        tmp_path, s500_good="create table makeready.good (n int)", s501_bad="select 1; select 1/0"
    )
    with pytest.raises(SchemaError, match=r"501_bad.sql.*22012"):
        await migrate(dsn, [folder])
    assert await ask(dsn, "select to_regclass('makeready.good') is null") is True
    write(tmp_path, s501_bad="select 1")
    assert await migrate(dsn, [folder]) == ["500_good.sql", "501_bad.sql"]


async def test_migrations_before_the_one_that_fails_are_kept(dsn: str, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        m9001_good="create table makeready.good (n int)",
        m9002_bad="create table makeready.bad (n int); select 1/0",
    )
    with pytest.raises(SchemaError):
        await migrate(dsn, [folder])
    assert await ask(dsn, "select to_regclass('makeready.good') is not null") is True
    assert await ask(dsn, "select to_regclass('makeready.bad') is null") is True
    write(tmp_path, m9002_bad="select 1")
    assert await migrate(dsn, [folder]) == ["migrations/9002_bad.sql"]


async def test_a_statement_that_wants_no_transaction_gets_none(dsn: str, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        m9001_index="-- transaction: none\n"
        "create index concurrently things_n on makeready.queues (created_at)",
    )
    assert await migrate(dsn, [folder]) == ["migrations/9001_index.sql"]
    assert await ask(dsn, "select to_regclass('makeready.things_n') is not null") is True


@pytest.mark.slow
async def test_an_upgraded_database_equals_a_fresh_one(
    dsn: str, empty: str, tmp_path: Path
) -> None:
    """P1: schema files versus migrations."""
    old = write(tmp_path / "old", s500_things=TABLE.format(""))
    await migrate(dsn, [old])
    assert await ask(dsn, "select count(*) from makeready.things") == 0
    new = write(
        tmp_path / "new",
        s500_things=TABLE.format(", n integer constraint things_n_is_small check (n < 9)"),
        m9001_n="alter table makeready.things add n integer"
        " constraint things_n_is_small check (n < 9)",
    )
    assert await migrate(dsn, [new]) == ["migrations/9001_n.sql", "500_things.sql"]
    await migrate(empty, [new])
    fresh, upgraded = await fingerprint(empty), await fingerprint(dsn)
    assert [line for line in upgraded if "things" in line] == [
        line for line in fresh if "things" in line
    ]


async def test_a_new_database_never_runs_old_migrations(empty: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m9001_bad="select 1/0", s500_good="select 1")
    assert "migrations/9001_bad.sql" in await migrate(empty, [folder])
    assert await migrate(empty, [folder]) == []


async def test_what_is_missing_and_what_is_newer_is_told(dsn: str, tmp_path: Path) -> None:
    """B3: drift of the schema from what this version brings."""
    folder = write(tmp_path, s500_things="select 1")
    connection = await asyncpg.connect(dsn)
    state = await inspect(connection, [folder])
    assert (state.pending, state.unknown, state.is_current) == (("500_things.sql",), (), False)
    await migrate(dsn, [folder])
    state = await inspect(connection)
    assert (state.pending, state.unknown, state.is_current) == ((), ("500_things.sql",), True)
    await connection.close()


async def test_who_waits_for_the_lock_polls_and_holds_no_snapshot(
    core: Core, dsn: str, tmp_path: Path
) -> None:
    """A session blocked in pg_advisory_lock() would stop CREATE INDEX CONCURRENTLY for ever."""
    folder = write(tmp_path, s500_x="select 1")
    await core.db.execute("select pg_advisory_lock($1)", LOCK_KEY)
    waiting = asyncio.ensure_future(migrate(dsn, [folder]))
    text = (
        "select count(*) from pg_stat_activity where application_name = 'makeready migrate'"
        " and datname = current_database() and state = 'idle' and backend_xmin is null"
    )
    await until(lambda: core.db.fetchval(text), what="the migration to wait between two looks")
    assert not waiting.done()
    await core.db.execute("select pg_advisory_unlock($1)", LOCK_KEY)
    assert await asyncio.wait_for(waiting, 5) == ["500_x.sql"]


async def test_a_migration_gives_up_rather_than_stop_the_claims(
    core: Core, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is not to be had is a clear error, not a queue behind a waiting ALTER TABLE."""
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "200ms")
    folder = write(tmp_path, m9001_x="lock table makeready.queues in access exclusive mode")
    async with core.db.transaction():
        await core.db.execute("select from makeready.queues")
        with pytest.raises(SchemaError, match="55P03"):
            await migrate(dsn, [folder])
    assert await migrate(dsn, [folder]) == ["migrations/9001_x.sql"]


async def test_an_older_process_leaves_a_newer_schema_alone(empty: str) -> None:
    """A rolling upgrade: old processes go on, and start, beside new ones."""
    await migrate(empty)
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute(
            "update makeready.schema_files set version = '99.0.0', checksum = 'x'"
        )
        assert await migrate(empty) == []
        state = await inspect(connection)
        assert (state.is_newer, state.is_current) == (True, True)
    finally:
        await connection.close()
