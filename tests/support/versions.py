"""Versions of document types for tests that need no template that prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from makeready.documents import versions
from tests.support.rendering import Press


def sample_design(*, title: str = "Note", **changes: Any) -> dict[str, Any]:
    """What a version is made of, as far as SQL looks at it."""
    return {
        "titles": {"ru": title, "en": title},
        "tier": "free",
        "enabled": True,
        "samples": {"en": {"text": "hello"}},
        "assets": {},
        **changes,
    }


async def drafted(press: Press, doc: str, design: Mapping[str, Any] | None = None) -> int:
    """A draft; its number."""
    found = sample_design() if design is None else design
    return await versions.draft(press.db, doc, found, [])


async def hash_of(db: asyncpg.Connection, doc: str, number: int) -> str:
    """The hash that a version has now."""
    row, _ = await versions.version(db, doc, number)
    return row.hash


async def checked(
    press: Press, doc: str, number: int, problems: list[dict[str, str]] | None = None
) -> None:
    """Enters what a check found; by default nothing."""
    seen = await hash_of(press.db, doc, number)
    await versions.checked(press.db, doc, number, seen, problems or [])


async def tried(press: Press, doc: str, number: int, **facts: Any) -> None:
    """A trial render that ended well."""
    seen = await hash_of(press.db, doc, number)
    await versions.trial(press.db, doc, number, seen=seen, language="en", data={"text": "hello"})
    await press.publish(await press.one(), facts={"pages": 1, **facts})


async def publish(press: Press, doc: str, design: Mapping[str, Any] | None = None) -> int:
    """A version that went the whole way; its number."""
    number = await drafted(press, doc, design)
    await checked(press, doc, number)
    await tried(press, doc, number)
    await versions.publish(press.db, doc, number)
    return number


async def versions_of(db: asyncpg.Connection, doc: str) -> list[tuple[int, str, str, str]]:
    """Number, origin, hash and state of each, by number."""
    rows = await versions.versions(db, doc)
    return sorted((row.number, row.origin, row.hash, row.state) for row in rows)
