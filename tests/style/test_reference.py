"""The references say what catalog and routes say; `make docs` writes them by these tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from makeready_http.app import OPERATIONS
from tests.support import http_reference
from tests.support.sql_reference import reference

if TYPE_CHECKING:
    import asyncpg

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "sql.md"
HTTP = REFERENCE.with_name("http.md")


async def test_sql_reference_is_what_the_catalog_says(db: asyncpg.Connection) -> None:
    if os.environ.get("WRITE_DOCS"):
        REFERENCE.write_text(await reference(db), "utf-8")
    assert REFERENCE.read_text("utf-8") == await reference(db), "run `make docs`"


def test_http_reference_is_what_the_routes_say() -> None:
    found = http_reference.reference(OPERATIONS)
    if os.environ.get("WRITE_DOCS"):
        HTTP.write_text(found, "utf-8")
    assert HTTP.read_text("utf-8") == found, "run `make docs`"
