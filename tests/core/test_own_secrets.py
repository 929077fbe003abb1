"""Secrets that a machine makes for itself: once, for its owner's eyes, and never in a log."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

from structlog.testing import capture_logs

from makeready.commands import machine
from makeready.commands.machine import with_own_secrets
from makeready.config import Settings
from makeready.sealing import Sealer
from makeready.values import Secret

FILES = ("jwt_secret", "secrets_key", "ingest_password")


def test_the_data_folder_keeps_secrets_of_its_own(tmp_path: Path) -> None:
    lone = Settings(data_dir=tmp_path / "data")
    first = with_own_secrets(lone)

    found = [getattr(first, name) for name in FILES]
    assert all(found)
    assert with_own_secrets(lone) == first
    for name in FILES:
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600
    others = with_own_secrets(Settings(data_dir=tmp_path / "other"))
    assert not {each.reveal() for each in found} & {getattr(others, n).reveal() for n in FILES}
    assert with_own_secrets(first) is first


def test_what_is_configured_is_taken_and_not_written_down(tmp_path: Path) -> None:
    given = Settings(
        data_dir=tmp_path / "data",
        jwt_secret=Secret("s" * 32),
        secrets_key=Secret("ab" * 32),
        ingest_password=Secret("let the booth in"),
    )
    assert with_own_secrets(given) is given
    assert not (tmp_path / "data").exists()


def test_ing_006_a_password_is_made_and_the_log_says_where_it_lies(tmp_path: Path) -> None:
    with capture_logs() as lines:
        found = with_own_secrets(Settings(data_dir=tmp_path))
        with_own_secrets(Settings(data_dir=tmp_path))

    assert [(line["what"], line["path"]) for line in lines] == [
        (name, str(tmp_path / name)) for name in FILES
    ]
    said = str(lines)
    assert not any(getattr(found, name).reveal() in said for name in FILES)


def test_its_key_seals(tmp_path: Path) -> None:
    able = Sealer.of(with_own_secrets(Settings(data_dir=tmp_path)).secrets_key)
    assert able.open(*able.seal("sk", b"here"), b"here").reveal() == "sk"


def test_other_commands_find_them_in_the_note(tmp_path: Path) -> None:
    lone = Settings(data_dir=tmp_path)
    up = dataclasses.replace(
        with_own_secrets(lone), database_url="postgresql:///db", s3_endpoint="s3:9"
    )
    with machine.noted(up):
        found = machine.running(lone)
    assert [getattr(found, n) for n in FILES] == [getattr(up, n) for n in FILES]
