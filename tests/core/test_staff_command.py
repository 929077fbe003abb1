"""The first account of staff is made by a command, and so is help for those locked out."""

from __future__ import annotations

import argparse
import asyncio
import io
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from makeready import passwords
from makeready.commands import staff as command
from makeready.config import Settings
from makeready.errors import Conflict, NotFound, Rejected

Call = Callable[..., Awaitable[str]]
PASSWORD = "a password of twelve"


@pytest.fixture
def call(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    """`await call("add", "anna", …, stdin="…")`: what the command prints."""

    async def run(*words: str, stdin: str = "") -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        parser = argparse.ArgumentParser()
        command.configure(parser)
        options = parser.parse_args(words)
        assert await asyncio.to_thread(command.run, settings, options) == 0
        return capsys.readouterr().out.strip()

    return run


async def digest(db: asyncpg.Connection, name: str) -> str:
    """The hash of somebody's password."""
    found: str = await db.fetchval(
        "select password_hash from makeready.staff_passwords p"
        " join makeready.staff s on s.id = p.staff_id where s.name = $1",
        name,
    )
    return found


async def test_the_first_admin_is_made_with_a_password_from_standard_input(
    call: Call, db: asyncpg.Connection
) -> None:
    said = await call("add", "anna", "--role", "admin", stdin=f"{PASSWORD}\n")

    assert "anna" in said
    assert PASSWORD not in said
    assert passwords.is_right(PASSWORD, await digest(db, "anna"))
    assert await db.fetchval("select role from makeready.staff") == "admin"


async def test_a_password_that_was_made_is_shown_once(call: Call, db: asyncpg.Connection) -> None:
    said = await call("add", "anna", "--role", "admin", "--generate")

    made = said.split("password: ")[1]
    assert passwords.is_right(made, await digest(db, "anna"))
    again = (await call("password", "anna", "--generate")).split("password: ")[1]
    assert not passwords.is_right(made, await digest(db, "anna"))
    assert passwords.is_right(again, await digest(db, "anna"))


async def test_accounts_are_listed_changed_and_shut_out(call: Call) -> None:
    assert "makeready staff add" in await call("list")
    await call("add", "anna", "--role", "admin", stdin=PASSWORD)
    await call("add", "boris", "--role", "viewer", stdin=PASSWORD)

    assert await call("role", "boris", "operator") == "boris is operator"
    assert await call("disable", "boris") == "boris is disabled"
    assert await call("disable", "boris") == "boris is disabled already"
    rows = (await call("list")).splitlines()[2:]
    assert [row.split()[:3] for row in rows] == [
        ["anna", "admin", "active"],
        ["boris", "operator", "disabled"],
    ]
    assert await call("enable", "boris") == "boris is enabled"


async def test_what_cannot_be_is_refused_with_a_word(call: Call) -> None:
    with pytest.raises(Rejected, match="12 to 128"):
        await call("add", "anna", "--role", "admin", stdin="short\n")
    await call("add", "anna", "--role", "admin", stdin=PASSWORD)
    with pytest.raises(Conflict):
        await call("disable", "anna")
    with pytest.raises(NotFound):
        await call("disable", "nobody")
