from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from makeready.embedded import binaries, processes
from makeready.embedded.binaries import find_binaries, reachable_binaries, system_binaries
from makeready.embedded.postgres import EmbeddedPostgres
from makeready.embedded.processes import EmbeddedError, server_user
from tests.support.waiting import until_sync

QUICK = {"fsync": "off", "shared_buffers": "16MB"}
Make = Callable[..., EmbeddedPostgres]


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    made: list[EmbeddedPostgres] = []

    def one(**options: object) -> EmbeddedPostgres:
        facts = {"settings": QUICK, "die_with_parent": True} | options
        server = EmbeddedPostgres(folder / "pg", **facts)  # type: ignore[arg-type]
        made.append(server)
        return server

    yield one
    for server in made:
        server.stop()


async def _ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_a_started_server_answers_and_a_stopped_one_keeps_its_data(make: Make) -> None:
    server = make()
    await _ask(server.start(), "create table kept as select 42 as n")
    server.stop()

    assert server.pid is None
    assert await _ask(server.start(), "select n from kept") == 42


async def test_a_killed_server_recovers_at_the_next_start(make: Make) -> None:
    server = make()
    await _ask(server.start(), "create table kept as select 42 as n")
    server.kill()

    assert await _ask(server.start(), "select n from kept") == 42


async def test_it_is_reached_by_socket_only_and_only_by_its_own_user(
    make: Make, folder: Path
) -> None:
    server = make()
    dsn = server.start()

    assert await _ask(dsn, "show listen_addresses") == ""
    for part in (folder / "pg", folder / "pg" / "run"):
        assert stat.S_IMODE(part.stat().st_mode) == 0o700


async def test_a_tcp_port_asks_for_the_password(make: Make) -> None:
    server = make(port=processes.free_ports(1)[0])
    dsn = server.start()

    assert await _ask(dsn, "select 1") == 1
    with pytest.raises(asyncpg.PostgresError):
        await _ask(server.dsn(password=False), "select 1")


async def test_a_database_is_made_once_whatever_its_name(make: Make) -> None:
    server = make()
    server.start()
    name = 'it\'s "odd"'

    assert server.ensure_database(name) == server.ensure_database(name)
    assert (
        await _ask(
            server.dsn(), f"select count(*) from pg_database where datname = {_quote(name)}"
        )
        == 1
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_a_second_process_is_told_who_runs_the_server(make: Make) -> None:
    make().start()

    with pytest.raises(EmbeddedError, match=f"process {os.getpid()} already runs Postgres"):
        make().start()


async def test_a_server_that_outlived_its_starter_is_taken_over(make: Make, folder: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from makeready.embedded.postgres import EmbeddedPostgres\n"
        f"server = EmbeddedPostgres(Path({str(folder / 'pg')!r}), settings={QUICK!r})\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    server = make()
    dsn = server.start()

    assert server.pid == int(done.stdout)
    assert await _ask(dsn, "select 1") == 1
    server.stop()
    assert not processes.is_alive(int(done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_shuts_down_cleanly_when_its_parent_is_killed(folder: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from makeready.embedded.postgres import EmbeddedPostgres\n"
        f"server = EmbeddedPostgres(Path({str(folder / 'pg')!r}), die_with_parent=True,\n"
        f"    settings={QUICK!r} | {{'log_min_messages': 'log'}})\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == -signal.SIGKILL
    until_sync(lambda: not (folder / "pg/cluster/postmaster.pid").exists(), what="the shutdown")
    assert "database system is shut down" in (folder / "pg/postgres.log").read_text("utf-8")


def test_an_unfinished_initdb_is_not_mistaken_for_a_cluster(make: Make, folder: Path) -> None:
    half = folder / "pg" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n", encoding="utf-8")

    assert make().start()


def test_a_cluster_of_another_version_is_refused_with_the_way_out(
    make: Make, folder: Path
) -> None:
    server = make()
    server.start()
    server.stop()
    (folder / "pg/cluster/PG_VERSION").write_text("12\n", encoding="utf-8")

    with pytest.raises(EmbeddedError, match=r"was made by PostgreSQL 12.*dump it"):
        server.start()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(make: Make) -> None:
    with pytest.raises(EmbeddedError, match="nonsense"):
        make(settings={"nonsense": "1"}).start()


async def test_a_long_path_does_not_break_the_socket(folder: Path) -> None:
    deep = folder / ("long-" * 20) / "pg"
    deep.parent.mkdir()
    with EmbeddedPostgres(deep, settings=QUICK, die_with_parent=True) as server:
        assert await _ask(server.dsn(), "select 1") == 1


@pytest.mark.skipif(system_binaries() is None, reason="no PostgreSQL is installed")
async def test_an_installed_server_serves_as_well(folder: Path) -> None:
    with EmbeddedPostgres(
        folder / "pg", settings=QUICK, binaries=system_binaries(), die_with_parent=True
    ) as server:
        assert await _ask(server.dsn(), "select 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
async def test_root_runs_it_as_another_user_even_inside_a_closed_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = folder / "state"
    monkeypatch.setattr(processes, "ROOT_STATE", state)
    monkeypatch.setattr(binaries, "ROOT_STATE", state)
    home = folder / "home"
    home.mkdir(mode=0o700)
    with EmbeddedPostgres(home / "pg", settings=QUICK, die_with_parent=True) as server:
        assert await _ask(server.dsn(), "select 1") == 1
        assert server.pid is not None
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert (home / "pg").resolve().parent == state
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
def test_programs_that_the_other_user_cannot_reach_are_copied_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "ROOT_STATE", folder / "state")
    monkeypatch.setattr(binaries, "can_reach", lambda *_: False)
    user = server_user()
    assert user is not None
    copied = reachable_binaries(find_binaries(), user)

    assert copied.is_relative_to(folder / "state")
    assert reachable_binaries(find_binaries(), user) == copied
    words = [str(copied / "initdb"), "--version"]
    assert (
        b"initdb" in subprocess.run(words, user=user.uid, capture_output=True, check=True).stdout
    )


def test_a_preferred_folder_without_the_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="holds no initdb"):
        find_binaries(tmp_path)


def test_without_any_server_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binaries, "wheel_binaries", lambda: None)
    monkeypatch.setattr(binaries, "system_binaries", lambda: None)
    monkeypatch.setattr(binaries, "shutil", SimpleNamespace(which=lambda _: None))

    with pytest.raises(EmbeddedError, match="DATABASE_URL"):
        find_binaries()
