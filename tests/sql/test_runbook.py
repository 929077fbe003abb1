"""What the documents tell people to paste can be pasted."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from makeready.errors import MakereadyError
from makeready.schema import sql_directory

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
