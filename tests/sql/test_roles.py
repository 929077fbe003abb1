"""Each role calls what it should and nothing else; nobody writes a table; PUBLIC does nothing."""

from __future__ import annotations

import asyncpg
import pytest

from makeready.errors import LeaseLost, NotFound
from tests.sql.conftest import Session
from tests.support.core import Core

ROLES = ("makeready_app", "makeready_http", "makeready_worker", "makeready_ops", "makeready_read")
CALLER = {"enqueue", "enqueue_many", "enqueue_once", "request_take", "cancel", "give_up"}
SHARED = {
    "alert",
    "now",
    "uuid7",
    "wake",
    "announce",
    "peek",
    "tick",
    "chore_run",
    "chore_failed",
    "why",
    "is_open",
    "session_key",
    "chore_take",
    "chore_done",
    "files_unknown",
    "files_purge_mark",
    "files_purged",
    "alert_unless_known",
}
WORKER = {
    "worker_register",
    "worker_stopping",
    "worker_leave",
    "worker_strays",
    "claim",
    "finish",
    "finish_many",
    "finish_and_claim",
    "fail",
    "report",
    "beat",
    "reap",
}
OPERATOR = {
    "queue_set",
    "queue_pause",
    "queue_resume",
    "queue_close",
    "queue_open",
    "queue_drain",
    "lane_set",
    "retry",
    "redrive",
    "job_evict",
    "worker_evict",
    "worker_drain",
    "worker_is_lost",
    "reap",
    "after_restore",
    "chore_set",
    "user_create",
    "token_create",
    "token_revoke",
    "tokens_of",
    "token_revoke_of",
    "user_list",
    "user_set_disabled",
    "user_sign_out",
    "user_forget",
    "retention_set",
    "alert_list",
    "alert_ack",
}
PEOPLE = {
    "token_user",
    "token_derive",
    "token_end",
    "tokens_of",
    "token_revoke_of",
    "session_begin",
    "session_topic",
    "offer_accept",
    "user_show",
    "user_list",
    "user_set_disabled",
    "user_sign_out",
}
SLICES = (
    "render_",
    "posm_",
    "restaurant_",
    "document_",
    "webhook_",
    "deliver_",
    "staff_",
    "otp_",
    "debug_",
    "throttle",
    "admin_",
    "metrics_",
    "ingest_",
    "media_",
    "photo",
    "provider_",
    "slot",
)
"""Functions of these are tested with their parts."""
CREDENTIALS = {
    "tokens",
    "webhook_secrets",
    "staff_passwords",
    "otp_codes",
    "ingest_password",
    "provider_keys",
}
EXPECTED = {
    "makeready_app": {"now", "uuid7", "wake", "peek"} | CALLER,
    "makeready_http": SHARED | CALLER | PEOPLE | {"alert_list", "alert_ack"},
    "makeready_worker": SHARED | CALLER | WORKER,
    "makeready_ops": SHARED | CALLER | OPERATOR,
    "makeready_read": {"now", "worker_is_lost"},
}


async def callable_by(core: Core, role: str) -> set[str]:
    """Functions of the core that a role may execute."""
    rows = await core.db.fetch(
        "select p.proname from pg_proc p where p.pronamespace = 'makeready'::regnamespace"
        " and has_function_privilege($1, p.oid, 'execute')",
        role,
    )
    return {row[0] for row in rows}


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_may_call_what_it_needs_and_nothing_else(core: Core, role: str) -> None:
    """What is internal is for nobody. The functions of a queue are tested with the queue."""
    found = {name for name in await callable_by(core, role) if not name.startswith(SLICES)}
    assert found == EXPECTED[role]


async def test_public_may_do_nothing(core: Core) -> None:
    await core.db.execute("create role stranger nologin")
    try:
        assert await callable_by(core, "stranger") == set()
        text = "select has_schema_privilege('stranger', 'makeready', 'usage')"
        assert await core.db.fetchval(text) is False
    finally:
        await core.db.execute("drop role stranger")


async def test_a_function_of_a_later_file_is_not_for_everybody(core: Core) -> None:
    """PostgreSQL gives EXECUTE to PUBLIC; a queue's file that forgets to revoke must not."""
    await core.db.execute(
        "set role makeready_owner; create function makeready.later() returns integer"
        " language sql as 'select 1'; reset role"
    )
    for role in ROLES:
        assert "later" not in await callable_by(core, role)


@pytest.mark.parametrize("privilege", ["insert", "update", "delete", "truncate", "references"])
async def test_nobody_writes_a_table(core: Core, privilege: str) -> None:
    rows = await core.db.fetch(
        "select r, c.relname from pg_class c, unnest($1::text[]) r"
        " where c.relnamespace = 'makeready'::regnamespace and c.relkind in ('r', 'p', 'v')"
        " and has_table_privilege(r, c.oid, $2)",
        list(ROLES),
        privilege,
    )
    assert [tuple(row) for row in rows] == []


@pytest.mark.parametrize("role", ["makeready_http", "makeready_worker"])
async def test_processes_read_no_table_but_the_list_of_schema_files(core: Core, role: str) -> None:
    rows = await core.db.fetch(
        "select c.relname from pg_class c where c.relnamespace = 'makeready'::regnamespace"
        " and c.relkind in ('r', 'p', 'v') and has_table_privilege($1, c.oid, 'select')",
        role,
    )
    assert [row[0] for row in rows] == ["schema_files"]


@pytest.mark.parametrize("role", ["makeready_read", "makeready_ops"])
async def test_readers_can_read_everything_but_credentials(
    core: Core, session: Session, role: str
) -> None:
    """A view calls functions with the rights of whoever reads it."""
    await core.running("limited")
    reader = await session(role)
    names = await core.db.fetch(
        "select c.relname from pg_class c where c.relnamespace = 'makeready'::regnamespace"
        " and c.relkind in ('r', 'p', 'v')"
    )
    for (name,) in names:
        if name not in CREDENTIALS:
            await reader.db.fetch(f"select * from makeready.{name} limit 1")
    for name in CREDENTIALS:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.db.fetch(f"select * from makeready.{name}")


async def test_a_reader_writes_nothing(core: Core, session: Session) -> None:
    job = await core.enqueue("free")
    reader = await session("makeready_read")
    for text in (
        "update makeready.jobs set priority = 1",
        "delete from makeready.jobs",
        "insert into makeready.gates values ('free', 'admit')",
        f"select makeready.cancel('free', '{job}')",
        "select makeready.enqueue('free')",
        "select from makeready.jobs for update",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.db.execute(text)
    assert await core.state(job) == "queued"


async def test_the_owner_cannot_log_in_and_is_no_superuser(core: Core) -> None:
    row = await core.db.fetchrow("select * from pg_roles where rolname = 'makeready_owner'")
    assert row is not None
    assert (row["rolcanlogin"], row["rolsuper"], row["rolcreaterole"]) == (False, False, False)
    owners = await core.db.fetch(
        "select distinct pg_get_userbyid(relowner) from pg_class"
        " where relnamespace = 'makeready'::regnamespace union"
        " select distinct pg_get_userbyid(proowner) from pg_proc"
        " where pronamespace = 'makeready'::regnamespace"
    )
    assert [row[0] for row in owners] == ["makeready_owner"]


async def test_the_roles_of_processes_do_their_whole_work(session: Session) -> None:
    client, worker = await session("makeready_http"), await session("makeready_worker")
    operator = await session("makeready_ops")
    job = await client.enqueue("bounded")
    (claimed,) = await worker.claim("bounded")
    await worker.report(claimed, {"n": 1})
    assert await worker.finish(claimed) == "ok"
    (seen,) = await client.rows("peek", queue_name="bounded", job_ids=[job])
    assert seen["job_state"] == "done"
    await worker.rows("tick")
    for chore in ("promote", "expire", "prune", "requests_purge", "workers_forget", "stats_take"):
        assert await worker.call("chore_run", chore_name=chore) >= 0
    await operator.set("bounded", max_in_flight=1)
    assert (await operator.rows("why", job=job))[0]["reason"] == "done"
    with pytest.raises(NotFound):
        await operator.call("retry", queue_name="bounded", job=claimed["lease"])
    with pytest.raises(LeaseLost):
        await worker.fail({**claimed, "lease": job}, "fatal")  # type: ignore[arg-type]


async def test_a_search_path_of_the_callers_own_changes_nothing(core: Core) -> None:
    """A caller's objects must not be found before the owner's: the path is pinned."""
    await core.db.execute(
        "create schema evil; create function evil.gen_random_uuid() returns uuid language sql as"
        " $$ select '00000000-0000-0000-0000-000000000000'::uuid $$;"
        " create table evil.jobs (id int); set search_path = evil, pg_catalog, makeready"
    )
    job = await core.running("limited")
    assert job["lease"].int != 0
    assert await core.finish(job) == "ok"
