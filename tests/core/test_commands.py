from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import re
import socket
import stat
import subprocess
import sys
from datetime import timedelta
from importlib import metadata
from pathlib import Path

import asyncpg
import pytest

from makeready import __version__
from makeready.__main__ import COMMANDS, main
from makeready.commands import (
    checks,
    doctor,
    document_checks,
    isolated,
    machine,
    migrate,
    psql,
    token,
    work,
)
from makeready.commands.checks import Finding
from makeready.commands.service import check_port
from makeready.commands.table import text_table
from makeready.config import Secret, Settings
from makeready.embedded.chromium import find_chromium
from makeready.embedded.processes import EmbeddedError
from makeready.people import token_hash
from tests.support.chromium import without_fonts
from tests.support.objectstore import S3
from tests.support.rendering import Press
from tests.support.versions import publish


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: makeready {command}" in text
    assert len(text.splitlines()) > 5


def test_without_a_command_the_overview_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text and about in text for name, about in COMMANDS.items())


def test_an_unknown_command_is_told_from_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nonsense"])

    assert ended.value.code == 2
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out == f"makeready {__version__}\n"


def test_an_unreadable_setting_ends_a_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAKEREADY_TASKS", "many")

    assert main(["migrate"]) == 1
    assert capsys.readouterr().err == (
        "makeready migrate: MAKEREADY_TASKS must be a whole number from 1 to 64\n"
    )


def _options(**facts: object) -> argparse.Namespace:
    return argparse.Namespace(**facts)


def test_migrate_checks_without_changing(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert migrate.run(settings, _options(check=True)) == 0
    assert capsys.readouterr().out == "the schema is current\n"


@pytest.mark.parametrize(
    ("version", "said", "verdict"),
    [
        (__version__, "the schema is current", "ok"),  # the file has another name now
        ("999.0.0", "a newer version has been here: its schema is kept", "warn"),
    ],
)
async def test_a_file_that_was_renamed_is_told_from_a_newer_version(
    settings: Settings,
    db: asyncpg.Connection,
    capsys: pytest.CaptureFixture[str],
    *,
    version: str,
    said: str,
    verdict: str,
) -> None:
    await db.execute(
        "insert into makeready.schema_files (name, kind, checksum, version)"
        " values ('005_once.sql', 'subject', 'x', $1)",
        version,
    )

    assert await asyncio.to_thread(migrate.run, settings, _options(check=True)) == 0
    assert capsys.readouterr().out.splitlines() == ["not of this version: 005_once.sql", said]
    found = await checks.check_database(settings)
    assert [one.verdict for one in found if one.what == "schema"] == [verdict]


async def test_a_printed_token_proves_its_user(
    settings: Settings, capsys: pytest.CaptureFixture[str], db: asyncpg.Connection
) -> None:
    options = _options(user="anna", user_id=None, phone=None, days=timedelta(days=1))
    assert await asyncio.to_thread(token.run, settings, options) == 0
    printed = capsys.readouterr().out.strip()

    assert re.fullmatch(r"mk_\w{40,}", printed)
    owner = await db.fetchval("select makeready.token_user($1)", token_hash(printed))
    assert owner is not None


def test_psql_runs_with_the_operators_file(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--", "-qAtc", "select count(*) >= 0 from makeready.queue_overview"]

    assert psql.run(settings, _options(words=words)) == 0
    assert "t" in capfd.readouterr().out.splitlines()


def test_every_worker_queue_has_a_module_that_opens_a_handler() -> None:
    assert work.handlers() == ["deliver", "posm", "render"]
    for queue in work.handlers():
        module = f"makeready_workers.{queue}"
        code = f"import {module}; assert callable({module}.open_handler)"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor_finds_all_well(
    settings: Settings, s3: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s3.bucket == settings.s3_bucket
    code = doctor.run(settings, _options(json=True))
    found = [Finding(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]

    assert [one for one in found if one.verdict == "FAIL"] == []
    assert code == 0
    named = {one.what for one in found}
    assert named >= {
        *("postgres", "schema", "roles", "clock", "object storage", "presigned links"),
        *("browser", "engines", "fonts", "disk", "data folder", "autovacuum", "table cards"),
    }


async def test_doctor_tells_of_versions_that_wait_behind_those_of_staff(
    db: asyncpg.Connection, settings: Settings
) -> None:
    press = await Press(db).open()
    (finding,) = await document_checks.check_types(settings)
    assert (finding.verdict, finding.found) == ("ok", "3 in force")
    await publish(press, "letter")
    (finding,) = await document_checks.check_types(settings)
    assert (finding.verdict, finding.found) == ("warn", "staff's own versions in force: letter")
    assert "roll back" in finding.mend
    only_shipped = dataclasses.replace(settings, config_source="file")
    (finding,) = await document_checks.check_types(only_shipped)
    assert finding.verdict == "ok"


async def test_doctor_fails_an_engine_that_is_chosen_and_not_installed(
    db: asyncpg.Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert [one.verdict for one in await checks.check_engines(settings)] == ["ok"]
    await db.execute("select makeready.render_engine_set(null, 'pyppeteer')")
    (finding,) = await checks.check_engines(settings)
    assert (finding.verdict, finding.found) == ("FAIL", "chromium, but pyppeteer is chosen")
    assert "pip install 'makeready[pyppeteer]'" in finding.mend


async def test_doctor_names_the_fonts_that_a_machine_lacks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = without_fonts(find_chromium(settings))
    monkeypatch.setattr(checks, "find_chromium", lambda _: nothing)
    (finding,) = await checks.check_browser(settings)
    assert (finding.what, finding.verdict) == ("fonts", "FAIL")
    assert "fonts-dejavu-core" in finding.mend


@pytest.mark.parametrize(
    ("address", "own"), [("http://127.0.0.1:9", []), (None, ["S3 of our own"])]
)
def test_doctor_tells_which_servers_are_our_own(
    address: str | None, own: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "machine", contextlib.nullcontext)
    findings: list[Finding] = []
    with doctor._servers(dataclasses.replace(settings, s3_endpoint=address), findings):
        pass

    assert [one.found for one in findings if one.what == "own servers"] == own


def test_doctor_says_how_to_mend_what_is_away(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = dataclasses.replace(
        settings,
        database_url="postgresql://u:hush@127.0.0.1:1/db",
        s3_endpoint="http://127.0.0.1:1",
        s3_access_key="key",
        s3_secret_key=Secret("hush"),
        chromium=Path("/nowhere/chromium"),
    )
    assert doctor.run(broken, _options(json=False)) == 1
    text = capsys.readouterr().out

    for what, mend in [
        ("FAIL database:", "DATABASE_URL"),
        ("FAIL object storage:", "S3_ENDPOINT"),
        ("FAIL browser:", "MAKEREADY_CHROMIUM"),
    ]:
        assert what in text
        assert mend in text.split(what)[1].split("mend: ")[1].splitlines()[0]
    assert "hush" not in text


def test_a_running_system_is_found_by_its_note_and_not_by_a_stale_one(tmp_path: Path) -> None:
    lone = Settings(data_dir=tmp_path)
    up = dataclasses.replace(
        lone,
        database_url="postgresql:///db?host=/run",
        s3_endpoint="s3:9",
        s3_use_ssl=True,
        s3_bucket="prints",
    )
    with machine.noted(up) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert machine.running(lone).database_url == up.database_url
        assert machine.running(lone).s3_url == "https://s3:9"
        assert machine.running(lone).s3_bucket == "prints"
        elsewhere = dataclasses.replace(lone, database_direct_url="postgresql://other/db")
        assert machine.running(elsewhere).listener_url == up.database_url
        configured = dataclasses.replace(lone, database_url="postgresql://mine/db")
        assert machine.running(configured).database_url == "postgresql://mine/db"
        note = json.loads(path.read_text("utf-8"))
    assert machine.running(lone) == lone

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps(note | {"pid": gone.pid}), encoding="utf-8")
    assert machine.running(lone) == lone


def test_a_port_that_is_taken_is_told_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EmbeddedError, match="MAKEREADY_HTTP_PORT"):
            check_port("127.0.0.1", taken.getsockname()[1])


def test_columns_of_numbers_are_set_to_the_right() -> None:
    assert text_table(["name", "size"], [["a", "9 kB"], ["long", "10 kB"]]).splitlines() == [
        "name   size",
        "----  -----",
        "a      9 kB",
        "long  10 kB",
    ]


def test_the_program_of_the_checkout_runs_from_anywhere(tmp_path: Path) -> None:
    program = tmp_path / "link"
    program.symlink_to(Path(__file__).resolve().parents[2] / "bin" / "makeready")
    words = [str(program), "--version"]
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )

    assert done.stdout == f"makeready {__version__}\n"


def test_removing_data_follows_a_link_only_to_what_a_server_has_put_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "ROOT_STATE", tmp_path / "state")
    data, ours, others = tmp_path / "data", tmp_path / "state" / "pg-1", tmp_path / "others"
    for folder in (data, ours, others):
        folder.mkdir(parents=True)
        (data / folder.name).symlink_to(folder)

    isolated.remove_whole(data)
    assert [folder.exists() for folder in (data, ours, others)] == [False, False, True]


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_system_of_its_own_prints_whatever_else_is_configured() -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    environ = {
        "DATABASE_URL": away,
        "DATABASE_DIRECT_URL": away,
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "S3_PRESIGN_ENDPOINT": "http://127.0.0.1:1",
    }
    words = [sys.executable, "-m", "makeready", "smoke", "render"]
    done = subprocess.run(
        words, env=os.environ | environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "26 PDFs, " in done.stdout
    assert done.stdout.count("12 files") == 2  # a ZIP a pack
    assert done.stdout.splitlines()[-1] == "[smoke] OK"


def test_psql_is_not_told_the_password_where_everybody_can_read_it() -> None:
    url, password = psql.without_password(
        "postgresql://ops:p%40ss@db:5432/makeready?sslmode=require"
    )
    assert (url, password) == ("postgresql://ops@db:5432/makeready?sslmode=require", "p@ss")
    for bare in ("postgresql:///makeready", "postgresql:///makeready?host=/run&port=1"):
        assert psql.without_password(bare) == (bare, None)
    url, password = psql.without_password("postgresql:///makeready?host=/run&password=p%2Bs")
    assert (url, password) == ("postgresql:///makeready?host=/run", "p+s")
