"""The house rules of sql/, read from the catalog of an installed schema."""

from __future__ import annotations

import re

import asyncpg
import pytest

from tests.support.core import Core

ON_ENDS = {
    "deliver_jobs_reach_the_delivery",
    "ingest_jobs_reach_the_photo",
    "posm_jobs_reach_the_generation",
    "render_jobs_reach_the_document",
}
"""The end of a job reaches its domain row; nothing runs when it is claimed or done."""
ON_DELETES = {
    "artifact_files_let_go",
    "document_type_versions_let_go",
    "pack_documents_take_their_results",
    "posm_assets_let_go",
    "posm_cards_let_go",
    "posm_generations_let_go",
    "posm_template_files_let_go",
    "render_bundles_take_their_results",
    "render_contents_let_go",
    "render_evidence_lets_go",
}
"""Once a statement: files and results of deleted rows go too."""
CLOCK_READERS = {
    "now": "it is the clock",
    "uuid7": "an id carries real time, whatever a test does to the clock",
    "chore_run": "it measures how long a chore took",
}
DYNAMIC = {"chore_run"}
SHARED_WORDS = {
    "message": "of a failed chore; in the log of photos, which chore_failed does not read",
    "outcome": "of a job in finish; how an attempt ended in attempts, which finish does not read",
    "target": "of a request; of a line in the audit log, which request_take does not read",
}
OBJECTS = "c.relnamespace = 'makeready'::regnamespace and c.relkind in ('r', 'p', 'v')"
OWN = "p.pronamespace = 'makeready'::regnamespace"


async def column(core: Core, text: str) -> list[str]:
    """The first column of what a query finds."""
    return [row[0] for row in await core.db.fetch(text)]


async def bodies(core: Core) -> list[asyncpg.Record]:
    """Names and bodies."""
    rows = await core.db.fetch(f"select proname, prosrc from pg_proc p where {OWN}")
    return list(rows)


def code(body: str) -> str:
    """A body without its comments and quoted texts."""
    return re.sub(r"--[^\n]*|'(?:[^']|'')*'", " ", body)


async def test_every_function_says_what_it_does(core: Core) -> None:
    text = f"select oid::regprocedure::text from pg_proc p where {OWN} and"
    assert await column(core, f"{text} coalesce(obj_description(oid, 'pg_proc'), '') = ''") == []


async def test_every_table_view_and_column_says_what_it_is(core: Core) -> None:
    text = f"""
        select relname::text from pg_class c
         where {OBJECTS} and not relispartition
           and coalesce(obj_description(oid, 'pg_class'), '') = ''
         union all
        select relname || '.' || attname from pg_class c join pg_attribute a on attrelid = c.oid
         where {OBJECTS} and relkind <> 'v' and not relispartition and attnum > 0
           and not attisdropped and coalesce(col_description(c.oid, attnum), '') = ''"""
    assert await column(core, text) == []


async def test_every_function_runs_as_its_owner_under_a_pinned_path(core: Core) -> None:
    text = f"""
        select oid::regprocedure::text from pg_proc p where {OWN} and proname <> 'now'
           and not (prosecdef and 'search_path=""' = any (coalesce(proconfig, '{{}}')))"""
    assert await column(core, text) == []


async def test_nobody_but_roles_of_the_house_executes_a_function(core: Core) -> None:
    text = f"""
        select oid::regprocedure::text from pg_proc p where {OWN}
           and (proacl is null or exists (select from aclexplode(proacl) a where a.grantee = 0))"""
    assert await column(core, text) == []


async def test_no_argument_has_the_name_of_a_column(core: Core) -> None:
    """In a function in SQL, where id = id is true of every row."""
    text = f"""
        select argument from pg_proc p, unnest(proargnames[: pronargs]) argument
         where {OWN} and argument in (
           select attname from pg_class c join pg_attribute a on attrelid = c.oid
            where {OBJECTS} and relkind <> 'v' and attnum > 0)"""
    assert set(await column(core, text)) - set(SHARED_WORDS) == set()


async def test_every_time_has_its_zone(core: Core) -> None:
    text = f"""
        select relname || '.' || attname from pg_class c join pg_attribute a on attrelid = c.oid
         where {OBJECTS} and atttypid in ('timestamp'::regtype, 'time'::regtype, 'timetz'::regtype)
         union all
        select proname::text from pg_proc p where {OWN}
           and 'timestamp'::regtype = any (proallargtypes || proargtypes::oid[] || prorettype)"""
    assert await column(core, text) == []


async def test_text_has_no_length_of_its_own_and_numbers_no_serial(core: Core) -> None:
    text = f"""
        select relname || '.' || attname from pg_class c join pg_attribute a on attrelid = c.oid
         where {OBJECTS} and attnum > 0
           and (atttypid in ('varchar'::regtype, 'bpchar'::regtype, 'json'::regtype)
                or attidentity = ''
                   and pg_get_serial_sequence(c.oid::regclass::text, attname) is not null)"""
    assert await column(core, text) == []


async def test_every_foreign_key_has_an_index(core: Core) -> None:
    text = """
        select conname::text from pg_constraint k
         where contype = 'f' and connamespace = 'makeready'::regnamespace
           and not exists (
             select from pg_index i where i.indrelid = k.conrelid
                and (i.indkey::int2[])[0 : cardinality(k.conkey) - 1] @> k.conkey
                and coalesce(pg_get_expr(indpred, indrelid), '') ~ '^($|.\\w+ IS NOT NULL.$)')"""
    assert await column(core, text) == []


async def test_no_foreign_key_points_at_jobs_or_gates(core: Core) -> None:
    """It would make claims wait for pruning, and give the gate a multixact."""
    text = """
        select conname::text from pg_constraint where contype = 'f'
           and confrelid in ('makeready.jobs'::regclass, 'makeready.gates'::regclass)"""
    assert await column(core, text) == []


async def test_a_constraint_begins_with_the_name_of_its_table(core: Core) -> None:
    text = """
        select c.relname || ': ' || conname
          from pg_constraint k join pg_class c on c.oid = conrelid
         where connamespace = 'makeready'::regnamespace and contype <> 'n' and not c.relispartition
           and not starts_with(conname, relname || '_')"""
    assert await column(core, text) == []


async def test_an_index_begins_with_the_name_of_its_table(core: Core) -> None:
    text = """
        select c.relname || ': ' || x.relname from pg_index i join pg_class c on c.oid = indrelid
          join pg_class x on x.oid = indexrelid
         where x.relnamespace = 'makeready'::regnamespace and not c.relispartition
           and not starts_with(x.relname, c.relname || '_')"""
    assert await column(core, text) == []


async def test_there_is_no_trigger_that_is_not_known(core: Core) -> None:
    text = """
        select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = tgrelid
         where not tgisinternal and tgparentid = 0
           and c.relnamespace = 'makeready'::regnamespace"""
    kinds: dict[str, set[str]] = {}
    for line in await column(core, text):
        words = re.fullmatch(r"CREATE TRIGGER (\w+) (.+) ON .* (FOR EACH \w+) .*", line)
        assert words
        kinds.setdefault(f"{words[2]} {words[3]}", set()).add(words[1])
    assert kinds == {
        "AFTER UPDATE OF state FOR EACH ROW": ON_ENDS,
        "AFTER DELETE FOR EACH STATEMENT": ON_DELETES,
    }


async def test_no_function_puts_a_statement_together(core: Core) -> None:
    dynamic = {
        row["proname"]
        for row in await bodies(core)
        if re.search(r"\bexecute\b", code(row["prosrc"]))
    }
    assert dynamic == DYNAMIC


async def test_there_is_one_clock(core: Core) -> None:
    words = r"(?<![.\w])now\(\)|clock_timestamp|statement_timestamp|current_timestamp|localtime"
    readers = {
        row["proname"] for row in await bodies(core) if re.search(words, code(row["prosrc"]))
    }
    assert readers - set(CLOCK_READERS) == set()


async def test_no_default_reads_a_clock(core: Core) -> None:
    text = """
        select c.relname::text from pg_attrdef d join pg_class c on c.oid = adrelid
         where c.relnamespace = 'makeready'::regnamespace and relname <> 'schema_files'
           and pg_get_expr(adbin, adrelid) ~ 'now\\(|timestamp\\('"""
    assert await column(core, text) == []


async def test_every_name_in_a_body_is_qualified(core: Core) -> None:
    """The path is empty: a name without its schema would fail only when it is reached."""
    tables = await column(core, f"select relname::text from pg_class c where {OBJECTS}")
    loose = re.compile(
        rf"\b(?:from|join|update|into|using)\s+(?:only\s+)?({'|'.join(map(re.escape, tables))})\b"
    )
    found = {row["proname"]: loose.findall(code(row["prosrc"])) for row in await bodies(core)}
    assert {name: names for name, names in found.items() if names} == {}


async def test_queue_stands_first_in_every_key_of_jobs(core: Core) -> None:
    """The door to Citus stays open where that is free."""
    text = """
        select indexrelid::regclass::text from pg_index i join pg_attribute a
            on attrelid = indrelid and attnum = indkey[0]
         where indrelid = 'makeready.jobs'::regclass and attname <> 'queue'"""
    assert await column(core, text) == []


async def test_nothing_needs_an_extension(core: Core) -> None:
    assert await column(core, "select extname::text from pg_extension") == ["plpgsql"]


@pytest.mark.parametrize("kind", ["u", "t"])
async def test_no_table_forgets_in_a_crash(core: Core, kind: str) -> None:
    text = f"select relname::text from pg_class c where {OBJECTS} and relpersistence = '{kind}'"
    assert await column(core, text) == []
