"""What a command says when something it needs is not there: one line with the setting to mend."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from makeready.__main__ import main
from makeready.commands import checks, machine, migrate, up
from makeready.commands.faults import database_complaint
from makeready.config import Secret, Settings
from makeready.embedded.processes import EmbeddedError
from makeready.faults import DatabaseAway
from tests.support.cluster import run_apart


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing configured, a data folder of its own; `up` leaves the signals of the tests alone."""
    for name in ("DATABASE_URL", "S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAKEREADY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MAKEREADY_LOG_LEVEL", "warning")  # secrets that are made are told as well
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.mark.parametrize(
    "case",
    [
        ("postgresql://u:hush@127.0.0.1:1/db", "does not answer", "DATABASE_URL"),
        ("postgresql://u:hush@nobody.invalid/db", "does not answer", "DATABASE_URL"),
        ("postgresql://u:hush@[::1/db", "DATABASE_URL", "postgresql://user:password@host"),
        ("postgresql://u:hush@host:abc/db", "DATABASE_URL", "postgresql://user:password@host"),
        ("postgresql://u:hush#1@host/db", "DATABASE_URL", "%XX"),
        ("postgresql://u:hush@h/db?sslmode=maybe", "DATABASE_URL cannot be used", "sslmode"),
    ],
)
@pytest.mark.parametrize("words", [["migrate"], ["token", "--user", "anna"], ["up", "--port=0"]])
def test_a_database_that_cannot_be_had_ends_a_command_with_one_line(
    words: list[str],
    case: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, said, mend = case
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr("makeready.commands.up.equipped", _nothing_started)

    assert main(words) == 1
    text = _complaint(capsys, words[0])
    assert said in text
    assert mend in text
    assert "hush" not in text


def _complaint(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """The one line on standard error, without its start."""
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1, text
    assert text.startswith(f"makeready {command}: ")
    return text


@contextmanager
def _nothing_started(settings: Settings) -> Iterator[machine.Equipment]:
    yield machine.Equipment(settings=settings, servers=())


def test_commands_on_a_database_without_the_schema_say_what_to_run(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_dsn)

    assert main(["token", "--user", "anna"]) == 1
    assert "makeready migrate" in _complaint(capsys, "token")


def test_a_database_that_does_not_exist_is_told_from_a_server_that_is_away(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", re.sub(r"/mr_empty\b", "/mr_lost", empty_dsn))

    assert main(["token", "--user", "anna"]) == 1
    assert "make that database" in _complaint(capsys, "token")


@pytest.fixture
def empty_dsn(dsn: str) -> Iterator[str]:
    """A database without our schema."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    run_apart(execute("create database mr_empty template template0"))
    yield urlunsplit(urlsplit(dsn)._replace(path="/mr_empty"))
    run_apart(execute("drop database mr_empty with (force)"))


@pytest.mark.parametrize("command", ["migrate", "demo", "up", "token --user anna"])
@pytest.mark.parametrize("place", ["/etc/passwd", "/etc/passwd/var", "/proc/var"])
def test_a_data_folder_that_cannot_be_one_names_its_setting(
    command: str, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAKEREADY_DATA_DIR", place)
    monkeypatch.setenv("MAKEREADY_HTTP_PORT", "0")

    assert main(command.split()) == 1
    text = _complaint(capsys, command.split(maxsplit=1)[0])
    assert place in text
    assert "MAKEREADY_DATA_DIR" in text


def test_doctor_warns_of_webhooks_that_may_go_anywhere() -> None:
    alerts, hooks = checks.check_messages(Settings())
    assert (alerts.verdict, hooks.verdict) == ("ok", "ok")
    assert "recorded only" in alerts.found
    url = Secret("https://example.com/url-secret")
    alerts, hooks = checks.check_messages(Settings(alert_webhook_url=url, webhook_private=True))
    assert (alerts.verdict, hooks.verdict) == ("ok", "warn")
    assert "url-secret" not in alerts.found  # RND-044


def test_doctor_says_who_can_sign_in() -> None:
    """RND-034: the mock is refused in production, and the reason is told."""

    def verdicts(**changes: Any) -> list[str]:
        return [one.verdict for one in checks.check_sign_in(Settings(**changes))]

    there: dict[str, Any] = {"database_url": "postgresql:///x"}
    secret: dict[str, Any] = {"jwt_secret": Secret("k" * 32)}
    assert verdicts() == ["ok", "warn", "ok"]
    assert verdicts(debug=True) == ["ok", "ok", "ok"]
    assert verdicts(**there) == ["warn", "warn", "ok"]
    assert verdicts(**there, **secret) == ["ok", "warn", "ok"]
    assert verdicts(**there, **secret, debug=True) == ["ok", "ok", "ok"]
    assert verdicts(debug=True, http_host="192.0.2.1") == ["ok", "ok", "FAIL"]
    found = checks.check_sign_in(Settings(**there, **secret))
    assert "kkk" not in str(found)
    assert "DEBUG" in found[1].mend


def test_debug_is_for_loopback_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(port=None, workers=1, dev=True)

    with pytest.raises(EmbeddedError, match="--dev"):
        up.run(Settings(http_host="192.0.2.1"), options)
    assert capsys.readouterr().out == ""


def test_doctor_fails_a_data_folder_that_is_a_file() -> None:
    folder, _ = checks.check_disk(Settings(data_dir=Path("/etc/passwd")))

    assert folder.verdict == "FAIL"
    assert "MAKEREADY_DATA_DIR" in folder.mend


def test_up_says_when_the_configured_store_does_not_answer(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    for name in ("ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.setenv(f"S3_{name}", "hush")
    monkeypatch.setenv("S3_ENDPOINT", "http://127.0.0.1:1")

    assert main(["up", "--port=0"]) == 1
    text = _complaint(capsys, "up")
    assert "http://127.0.0.1:1" in text
    assert "S3_ENDPOINT" in text
    assert "hush" not in text


def test_an_error_that_a_task_group_wraps_is_told_like_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [DatabaseAway("no route")])])

    monkeypatch.setattr(migrate, "run", run)

    assert main(["migrate"]) == 1
    assert "the database does not answer (no route)" in _complaint(capsys, "migrate")


def test_a_server_that_lacks_our_roles_lacks_a_migration() -> None:
    missing = asyncpg.InvalidParameterValueError('role "makeready_worker" does not exist')

    assert database_complaint(missing).endswith("run `makeready migrate` first")


def test_a_defect_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> int:
        raise KeyError("a defect")

    monkeypatch.setattr(migrate, "run", run)

    with pytest.raises(KeyError):
        main(["migrate"])


@pytest.mark.parametrize("name", ["http", "work"])
@pytest.mark.parametrize(
    ("environ", "mend"),
    [
        ({}, "set DATABASE_URL, or run `makeready up`"),
        # Amazon's own would be taken, with whatever keys lie about.
        ({"DATABASE_URL": "postgresql://h/db"}, "set S3_ENDPOINT"),
    ],
)
def test_a_service_without_database_or_store_says_what_to_set(
    name: str,
    environ: dict[str, str],
    mend: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)

    assert main([name]) == 1
    assert mend in _complaint(capsys, name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["work", "nosuch"], "'nosuch': no queue with a handler; there is: deliver, posm, render"),
        (["smoke", "render", "--base-url", "localhost"], "'localhost': must be http://host:port"),
        (["up", "--port", "70000"], "'70000': must be a whole number from 0 to 65535"),
        (["http", "--port", "x"], "'x': must be a whole number from 0 to 65535"),
        (["up", "--workers", "0"], "'0': must be a whole number from 1 to 1000"),
        (["work", "--tasks", "65"], "'65': must be a whole number from 1 to 64"),
        (["token", "--user", "anna", "--days", "inf"], "'inf': must be a number of days"),
    ],
)
def test_a_wrong_word_is_told_with_the_right_ones(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err
