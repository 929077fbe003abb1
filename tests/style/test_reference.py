"""The generated SQL reference says what the catalog says; `make docs` writes it by this test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.sql_reference import reference

if TYPE_CHECKING:
    import asyncpg

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "sql.md"


async def test_sql_reference_is_what_the_catalog_says(db: asyncpg.Connection) -> None:
    if os.environ.get("WRITE_DOCS"):
        REFERENCE.write_text(await reference(db), "utf-8")
    assert REFERENCE.read_text("utf-8") == await reference(db), "run `make docs`"
