from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from makeready.config import ConfigError, Settings, load_settings, variables
from makeready.values import Secret


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({})

    assert settings.database_url is None
    assert settings.tasks == 4
    assert settings.http_port == 8000
    assert settings.data_dir == Path("var")
    assert settings.drain_grace_s == 30.0


def test_a_canonical_name_wins_over_its_alias() -> None:
    environ = {
        "MAKEREADY_DATABASE_URL": "postgresql://canonical/db",
        "DATABASE_URL": "postgresql://alias/db",
    }

    assert Settings.from_env(environ).database_url == "postgresql://canonical/db"


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        ("DATABASE_URL", "postgres://h/db", "database_url", "postgres://h/db"),
        ("S3_ENDPOINT", "minio:9000/", "s3_endpoint", "minio:9000"),
        ("S3_SECRET_KEY", "hush", "s3_secret_key", Secret("hush")),
        ("DEBUG", "1", "debug", True),
    ],
)
def test_aliases_are_read(name: str, text: str, field: str, expected: object) -> None:
    assert getattr(Settings.from_env({name: text}), field) == expected


def test_an_empty_value_counts_as_unset() -> None:
    assert Settings.from_env({"MAKEREADY_TASKS": " "}).tasks == 4


def test_an_unknown_setting_is_an_error_that_names_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match="MAKEREADY_TASK is no setting; did you mean MAKEREADY_TASKS"
    ):
        Settings.from_env({"MAKEREADY_TASK": "4"})


def test_names_of_the_tests_and_of_other_programs_are_left_alone() -> None:
    assert Settings.from_env({"MAKEREADY_TEST_PG": "system", "PATH": "/bin"}) is not None


def test_all_problems_are_told_at_once() -> None:
    environ = {"MAKEREADY_TASKS": "none", "MAKEREADY_HTTP_PORT": "70000", "DEBUG": "perhaps"}

    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environ)

    assert str(caught.value) == (
        "MAKEREADY_HTTP_PORT must be a whole number from 0 to 65535; "
        "MAKEREADY_TASKS must be a whole number from 1 to 64; "
        "DEBUG must be true or false"
    )


def test_the_message_about_a_bad_value_never_repeats_the_value() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({"DATABASE_URL": "user:hush@host"})

    assert "hush" not in str(caught.value)


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("hush")

    assert repr(secret) == str(secret) == f"{secret}" == "***"
    assert secret.reveal() == "hush"
    assert "hush" not in repr(Settings(s3_secret_key=secret))


def test_an_s3_endpoint_without_scheme_takes_it_from_use_ssl() -> None:
    assert Settings(s3_endpoint="s3:9000").s3_url == "http://s3:9000"
    assert Settings(s3_endpoint="s3:9000", s3_use_ssl=True).s3_url == "https://s3:9000"
    assert Settings(s3_endpoint="https://s3").s3_url == "https://s3"


def test_presigned_links_fall_back_to_the_inner_endpoint() -> None:
    both = Settings(s3_endpoint="http://inner", s3_presign_endpoint="outer:9000")

    assert both.s3_presign_url == "http://outer:9000"
    assert Settings(s3_endpoint="http://inner").s3_presign_url == "http://inner"


def test_the_listener_prefers_the_direct_url() -> None:
    pooled = Settings(database_url="postgres://pool/db", database_direct_url="postgres://real/db")

    assert pooled.listener_url == "postgres://real/db"
    assert Settings(database_url="postgres://real/db").listener_url == "postgres://real/db"


def test_the_environment_wins_over_the_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("MAKEREADY_TASKS=8\nS3_BUCKET='from $file'\n", encoding="utf-8")
    monkeypatch.setenv("MAKEREADY_TASKS", "2")

    settings = load_settings(dotenv)

    assert settings.tasks == 2
    assert settings.s3_bucket == "from $file"


def test_an_alias_in_the_environment_wins_over_the_name_in_the_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("MAKEREADY_S3_BUCKET=file\nS3_REGION=file\n", encoding="utf-8")
    monkeypatch.setenv("S3_BUCKET", "environment")
    monkeypatch.setenv("S3_REGION", "")

    settings = load_settings(dotenv)

    assert settings.s3_bucket == "environment"
    assert settings.s3_region == "us-east-1", "an empty variable hides the file's"


def test_a_child_process_gets_the_same_settings_but_a_name_of_its_own() -> None:
    settings = Settings(
        database_url="postgres://h/db",
        data_dir=Path("/srv/makeready"),
        s3_secret_key=Secret("hush"),
        listen=False,
        drain_grace_s=1.5,
        instance="parent",
    )
    read = Settings.from_env(settings.to_env())

    assert dataclasses.replace(read, instance="parent") == settings
    assert read.instance != "parent"


def test_a_child_process_takes_nothing_that_is_unset_from_its_surroundings() -> None:
    around = {
        "DATABASE_DIRECT_URL": "postgres://other/db",
        "MAKEREADY_S3_PRESIGN_ENDPOINT": "http://other",
        "S3_ACCESS_KEY": "other",
    }
    read = Settings.from_env(around | Settings(database_url="postgres://h/db").to_env())

    assert read.listener_url == "postgres://h/db"
    assert read.s3_presign_url is None
    assert read.s3_access_key is None


def test_a_name_is_used_for_one_setting_only() -> None:
    names = [name for v in variables() for name in (v.name, *v.aliases)]

    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db?host=/run&port=5433",
        "postgres://u:p%40ss@[::1]:5432/db",
        "postgresql://one:1,two:2/db?target_session_attrs=read-write",
        "postgresql://[::1]/db",
        "postgresql://u:p%3Aw@host/db",
    ],
)
def test_every_form_of_a_database_url_is_taken(url: str) -> None:
    assert Settings.from_env({"DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "postgresql://u:hush@[::1/db",
        "postgresql://u:hush@host:abc/db",
        "postgresql://u:hush@host:70000/db",
        "postgresql://u:hush#1@host/db",
        "postgresql:///db?host=/run&port=hush",
    ],
)
def test_a_database_url_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL must ") as refused:
        Settings.from_env({"DATABASE_URL": url})

    assert "hush" not in str(refused.value)
