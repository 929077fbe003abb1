from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from jinja2 import Environment

from makeready import __version__, cards
from makeready.__main__ import COMMANDS
from makeready.aside import HelperLost
from makeready.config import RESERVED_PREFIXES, Settings, Variable, variables
from makeready.documents.templating import TemplateSandbox
from makeready.pdf import InvalidPdf
from makeready.shapes import _FORMATS
from makeready.values import as_text
from makeready.variables import PREFIX
from makeready_workers.chromium.records import Fault

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "deploy" / "env.example"
UNSET = {"instance"}  # made for each process


def _default(variable: Variable) -> str:
    entry = next(entry for entry in fields(Settings) if entry.name == variable.field)
    if variable.field in UNSET or entry.default is None:
        return ""
    value = entry.default
    return str(value) if isinstance(value, Path) else as_text(value)


def _row(variable: Variable) -> str:
    aliases = ", ".join(f"`{name}`" for name in variable.aliases)
    default = f"`{_default(variable)}`" if _default(variable) else ""
    return f"| `{variable.name}` | {aliases} | {default} | {variable.about} |"


@pytest.mark.parametrize("variable", variables(), ids=lambda v: v.field)
def test_every_setting_has_its_row_on_the_page(variable: Variable) -> None:
    assert _row(variable) in PAGE.read_text("utf-8").splitlines()


@pytest.mark.parametrize("variable", variables(), ids=lambda v: v.field)
def test_every_setting_stands_in_the_example_with_its_default(variable: Variable) -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()

    assert f"#{variable.name}={_default(variable)}" in lines


@pytest.mark.parametrize("path", [PAGE, EXAMPLE], ids=lambda p: p.name)
def test_nothing_is_documented_that_does_not_exist(path: Path) -> None:
    known = {variable.name for variable in variables()}
    named = set(re.findall(rf"{PREFIX}[A-Z0-9_]+", path.read_text("utf-8")))

    assert {name for name in named - known if not name.startswith(RESERVED_PREFIXES)} == set()


def test_the_example_is_readable_as_it_is() -> None:
    text = EXAMPLE.read_text("utf-8")
    pairs = dict(re.findall(r"^#(MAKEREADY_\w+)=(.*)$", text, flags=re.MULTILINE))

    assert Settings.from_env(pairs) == Settings()


def test_every_name_of_older_set_ups_is_read_or_said_to_be_gone() -> None:
    names = {
        "DATABASE_URL RENDER_QUEUE RENDER_TIMEOUT_SEC S3_ENDPOINT S3_PRESIGN_ENDPOINT S3_BUCKET",
        "S3_REGION S3_ACCESS_KEY S3_SECRET_KEY S3_USE_SSL ALERT_WEBHOOK_URL DEBUG SMS_PROVIDER",
        "CONFIG_SOURCE DOCS_FORCE_ALL_FREE PAID_DOCS_VISIBLE MEDIA_ROOT PHOTOCHANGER_DATABASE_URL",
        "QUEUE_STATEMENT_TIMEOUT_MS QUEUE_MAX_IN_FLIGHT_JOBS T_SYNC_RESPONSE_SECONDS JWT_SECRET",
        "JWT_ACCESS_TTL_SECONDS RESULT_RETENTION WORKERS CLEANUP_INTERVAL",
        "WORKER_POLL_INTERVAL_MS MAX_POLL_ATTEMPTS RETRY_ATTEMPTS RETRY_BACKOFF_SECONDS",
        "REQUEST_TIMEOUT_SECONDS",
    }
    read = {alias for variable in variables() for alias in variable.aliases}
    unread = {name for line in names for name in line.split()} - read
    rows = re.findall(r"^\| (`.*?) \| .*? \|$", PAGE.read_text("utf-8"), flags=re.MULTILINE)

    assert unread >= {"RENDER_QUEUE"}
    for name in unread:
        assert any(f"`{name}`" in row for row in rows), name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_overview_of_the_read_me_or_the_page(command: str) -> None:
    texts = [PAGE.read_text("utf-8"), (ROOT / "README.md").read_text("utf-8")]

    assert any(f"makeready {command}" in text for text in texts)


def test_every_target_of_make_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    declared = set(re.sub(r"\\\n", " ", text).split(".PHONY:")[1].split("\n")[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## \S", text, flags=re.MULTILINE))

    assert declared == explained


def test_the_change_log_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+|Unreleased)", text, flags=re.MULTILINE)

    assert versions
    assert next(one for one in versions if one != "Unreleased") == __version__


def test_the_page_of_document_types_names_all_that_templates_see() -> None:
    text = (ROOT / "docs" / "document-types.md").read_text("utf-8")
    sandbox = TemplateSandbox({}, "en")
    usual = Environment(autoescape=True)
    names = {"data", "t", "asset", *sandbox.globals, *sandbox.filters.keys() - usual.filters}
    formats = re.search(r"`format` \((.*?)\)", text)

    assert names - set(re.findall(r"`(\w+)(?:\([^`]*\))?`", text)) == set()
    assert formats
    assert set(re.findall(r"[\w-]+", formats[1])) == set(_FORMATS)


def test_the_page_of_printing_names_every_way_in_which_a_render_fails() -> None:
    text = (ROOT / "docs" / "printing.md").read_text("utf-8")
    parts = ("attempt", "render", "render_bundle", "render_document", "running")
    folder = ROOT / "workers" / "makeready_workers"
    calls = "".join((folder / f"{part}.py").read_text("utf-8") for part in parts)
    raised = set(re.findall(r'JobFailed\(\s*"\w+",\s*"(\w+)"', calls))
    named = {
        code for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for code in row.split("`")
    }

    assert len(raised) > 5
    assert {*raised, *Fault, InvalidPdf.code, HelperLost.code} - named == set()


def test_the_way_of_a_card_names_each_of_its_modules() -> None:
    lines = (cards.__doc__ or "").splitlines()
    found = re.findall(r"^    (\w+) {2,}|`(\w+)`", "\n".join(lines), re.MULTILINE)
    folder = Path(cards.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}

    assert sorted(name or other for name, other in found) == sorted(modules)
