"""What the documents tell people to paste can be pasted."""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from makeready.commands.psql import find_psql
from makeready.documents.shipped import document_type, sample
from makeready.errors import MakereadyError
from makeready.schema import sql_directory
from tests.support.rendering import Press

ROOT = Path(__file__).parents[2]
JOB = "01a200f9-b74e-726d-8f4e-b15c8bd63c51"
PLACEHOLDERS = {"'…'": f"'{JOB}'", "'backup of …'": "'backup'"}


def _statements() -> list[str]:
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    found = []
    for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        bare = re.sub(r"--.*", "", block)
        found += [part.strip() for part in bare.split(";") if part.strip()]
    return found


@pytest.mark.parametrize("statement", _statements())
async def test_the_runbook_s_statements_run_for_an_operator(
    db: asyncpg.Connection, statement: str
) -> None:
    """A refusal of the product's own is an answer; a name or a grant that is missing is not."""
    for placeholder, value in PLACEHOLDERS.items():
        statement = statement.replace(placeholder, value)
    transaction = db.transaction()
    await transaction.start()
    try:
        await db.execute("set local role makeready_ops")
        await db.fetch(statement)
    except MakereadyError:
        pass
    finally:
        await transaction.rollback()


def _shortcuts() -> list[str]:
    text = (sql_directory() / "ops" / "psqlrc").read_text("utf-8")
    return [
        found.replace("\\'", "'")
        for found in re.findall(r"^\\set \w+ '(select .*;)'$", text, re.MULTILINE)
    ]


@pytest.mark.parametrize("statement", _shortcuts())
async def test_the_shortcuts_of_psql_run_for_an_operator(
    db: asyncpg.Connection, statement: str
) -> None:
    async with db.transaction():
        await db.execute("set local role makeready_ops")
        await db.fetch(statement)


def _readme(language: str) -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_readme_s_examples_enqueue_with_the_order(
    db: asyncpg.Connection, dsn: str
) -> None:
    await Press(db).open("invoice")
    psql = await asyncio.create_subprocess_exec(
        find_psql(), "-X", "-v", "ON_ERROR_STOP=1", dsn, cwd=ROOT, stdin=asyncio.subprocess.PIPE
    )
    await psql.communicate(_readme("sql").encode())
    assert psql.returncode == 0

    names: dict[str, Any] = {
        "connection": db,
        "json": json,
        "customer": "АО «Рестораны у Фонтанки»",
        "total": 219207.75,
        "invoice": sample(document_type("invoice"), "ru"),
    }
    code = f"async def example():\n{textwrap.indent(_readme('python'), '    ')}"
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 -- our own README
    await names["example"]()

    assert [row["id"] for row in await db.fetch("select id from public.orders order by id")] == [
        17,
        18,
    ]
    jobs = await db.fetch("select state from makeready.jobs where queue = 'render'")
    assert [row["state"] for row in jobs] == ["queued", "queued"]
