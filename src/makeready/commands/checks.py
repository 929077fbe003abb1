"""What `makeready doctor` looks at: each check returns findings.

Nothing is changed, but that a bucket which is missing is made.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from importlib import metadata

import asyncpg

from makeready import pdf, posm_templates, sms
from makeready.commands.migrate import connected
from makeready.commands.service import Client, new_session
from makeready.config import Settings
from makeready.embedded.chromium import INSTALL, find_chromium
from makeready.print_options import PrintOptions
from makeready.schema import inspect
from makeready.storage import open_storage

LOOPBACK = ("127.0.0.1", "::1", "localhost")
OLDEST_POSTGRES, NEWEST_POSTGRES = 15, 18
DISK_FLOOR_BYTES = 200 << 20
DISK_GOAL_BYTES = 2 << 30
CLOCK_GOAL_S = 2.0
CONNECTIONS_GOAL = 40
PROBE = "Аа₽"
PROBE_TIMEOUT_S = 30.0
NOTIFY_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    what: str
    verdict: str
    """`ok`, `warn` (it runs, but) or `FAIL`."""
    found: str
    mend: str = ""
    """What to do about it."""


def good(what: str, found: str) -> Finding:
    """All is well."""
    return Finding(what=what, verdict="ok", found=found)


def judged(what: str, found: str, *, well: bool, mend: str, verdict: str = "FAIL") -> Finding:
    """`ok` when well, else the verdict with what to do."""
    if well:
        return good(what, found)
    return Finding(what=what, verdict=verdict, found=found, mend=mend)


def check_python() -> list[Finding]:
    """The interpreter."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    well = sys.version_info >= (3, 11)
    return [judged("python", text, well=well, mend="install Python 3.11 or newer")]


def check_disk(settings: Settings) -> list[Finding]:
    """Room and rights in the data directory."""
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free in {folder}"
    writable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return [
        judged(
            "data folder",
            str(settings.data_dir.absolute()),
            well=writable,
            mend=f"make {folder} a folder that this user may write to, or set MAKEREADY_DATA_DIR",
        ),
        judged(
            "disk",
            text,
            well=free >= DISK_GOAL_BYTES,
            mend="make room, or set MAKEREADY_DATA_DIR to a larger disk",
            verdict="warn" if free >= DISK_FLOOR_BYTES else "FAIL",
        ),
    ]


def check_sign_in(settings: Settings) -> list[Finding]:
    """Whether staff and users can sign in, and nobody else can."""
    secret = settings.jwt_secret is not None
    own = settings.database_url is None
    missing = "made by `makeready up`" if own else "MAKEREADY_JWT_SECRET is not set"
    why = "" if own and not secret and settings.debug else sms.complaint(settings)
    exposed = settings.debug and settings.http_host not in LOOPBACK
    return [
        judged(
            "log-in of staff",
            "signed with a secret of its own" if secret else missing,
            well=secret or own,
            mend="set MAKEREADY_JWT_SECRET to what `openssl rand -hex 32` prints, everywhere",
            verdict="warn",
        ),
        judged(
            "one-time codes",
            why or f"by {settings.sms_provider}",
            well=not why,
            mend="for development set DEBUG=1; else users sign in with tokens (`makeready token`)",
            verdict="warn",
        ),
        judged(
            "debug",
            "on, for strangers too" if exposed else "on" if settings.debug else "off",
            well=not exposed,
            mend="unset DEBUG: it lets whoever reaches the service sign in as anybody",
        ),
    ]


def check_messages(settings: Settings) -> list[Finding]:
    """Where alerts go, and where users' webhooks may go."""
    there = settings.alert_webhook_url is not None
    recorded = "recorded only: MAKEREADY_ALERT_WEBHOOK_URL is not set"
    return [
        good("alerts", "recorded, and posted by workers of `deliver`" if there else recorded),
        judged(
            "webhooks",
            "into one's own network too" if settings.webhook_private else "public addresses",
            well=not settings.webhook_private,
            mend="unset MAKEREADY_WEBHOOK_PRIVATE unless this is a machine for development",
            verdict="warn",
        ),
    ]


async def check_database(settings: Settings) -> list[Finding]:
    """Version, settings, rights, schema and clock of the database."""
    async with connected(settings.database_url) as connection:
        return [
            _version(connection),
            *await _server_settings(connection),
            *await _roles(connection, settings),
            await _schema(connection),
            await _clock(connection),
            await _link(connection, settings),
        ]


async def _link(connection: asyncpg.Connection, settings: Settings) -> Finding:
    """The common link of table cards, and whether it is the one that this process was given."""
    what = "links on table cards"
    if await connection.fetchval("select to_regclass('makeready.posm_policy') is null"):
        return good(what, "not looked at: the schema is missing")
    link = (await posm_templates.policy(connection)).link_template
    given = settings.posm_link_template
    mend = "select makeready.posm_policy_set(link => 'https://example.com/t/{uuid}')"
    if link is None:
        return judged(what, "none: tables need a url each", well=False, mend=mend, verdict="warn")
    differs = f"{link}; MAKEREADY_POSM_LINK_TEMPLATE says {given}, which counts no more"
    well = given in {None, link}
    return judged(what, link if well else differs, well=well, mend=mend, verdict="warn")


async def check_listen(settings: Settings) -> list[Finding]:
    """A notification comes back on the connection that listens."""
    what = "notifications"
    if not settings.listen:
        return [judged(what, "off", well=False, verdict="warn", mend="set MAKEREADY_LISTEN=true")]
    heard: list[str] = []
    async with connected(settings.listener_url) as connection:
        channel = f"makeready_doctor_{secrets.token_hex(4)}"
        await connection.add_listener(channel, lambda *facts: heard.append(str(facts[3])))
        await connection.execute("select pg_notify($1, 'ping')", channel)
        deadline = time.monotonic() + NOTIFY_TIMEOUT_S
        while not heard and time.monotonic() < deadline:
            await connection.fetchval("select 1")
        await connection.reset()
    mend = "set DATABASE_DIRECT_URL to the server behind the pooler, or MAKEREADY_LISTEN=false"
    return [judged(what, "heard" if heard else "not heard", well=bool(heard), mend=mend)]


async def check_storage(settings: Settings) -> list[Finding]:
    """Put, get, a presigned link fetched as a user would, delete."""
    key = f"doctor/{secrets.token_hex(8)}"
    async with open_storage(settings) as storage:
        made = await storage.ensure_bucket()
        await storage.put(key, PROBE.encode(), media_type="text/plain")
        try:
            read = await storage.get(key)
            link = await storage.presign(key, valid_s=60)
            async with new_session() as session:
                fetched = await Client(session=session, base_url="").download(link)
        finally:
            await storage.delete([key])
    where = f"{settings.s3_url}, bucket {settings.s3_bucket}{' (made)' if made else ''}"
    mend = "the object came back changed: look at what lies between us and S3"
    signed = "set S3_PRESIGN_ENDPOINT to the address by which users reach S3"
    return [
        judged("object storage", where, well=read == PROBE.encode(), mend=mend),
        judged("presigned links", f"{settings.s3_presign_url}", well=fetched == read, mend=signed),
    ]


async def check_browser(settings: Settings) -> list[Finding]:
    """The browser starts, prints, and has letters for Cyrillic and the rouble sign."""
    from makeready_workers.chromium import Fault, RenderError, open_engine  # noqa: PLC0415 – heavy

    binary = find_chromium(settings)
    html = f"<!doctype html><meta charset=utf-8><p style='font-family: sans-serif'>{PROBE}</p>"
    started = time.perf_counter()
    try:
        async with open_engine(settings, binary=binary, own_fonts=False) as engine:
            result = await engine.render(html, {}, PrintOptions(), timeout_s=PROBE_TIMEOUT_S)
    except RenderError as error:
        if error.code is not Fault.FONTS_MISSING:
            raise
        return [judged("fonts", str(error), well=False, mend=FONTS_MEND)]
    took_ms = (time.perf_counter() - started) * 1e3
    text = pdf.text_of(result.pdf).strip()
    fonts = ", ".join(sorted(font.name for font in pdf.inspect(result.pdf).fonts)) or "none"
    found = [
        good("browser", f"{result.engine_version}, {binary.path} ({binary.source})"),
        judged("fonts", f"{PROBE} reads {text!r} ({fonts})", well=text == PROBE, mend=FONTS_MEND),
        good("first page", f"{took_ms:.0f} ms from the start of the browser"),
    ]
    if settings.chromium_no_sandbox:
        found.append(
            judged(
                "sandbox",
                "off",
                well=False,
                verdict="warn",
                mend="allow user namespaces and unset MAKEREADY_CHROMIUM_NO_SANDBOX",
            )
        )
    return found


async def check_engines(settings: Settings) -> list[Finding]:
    """The second engine is installed where somebody has chosen it."""
    async with connected(settings.database_url) as connection:
        chosen = await connection.fetchval(
            "select to_regclass('makeready.render_engines') is not null"
        ) and await connection.fetchval(
            "select exists (select from makeready.render_engines where engine = 'pyppeteer')"
        )
    try:
        found = f"chromium, pyppeteer {metadata.version('pyppeteer')}"
    except metadata.PackageNotFoundError:
        found = "chromium" + (", but pyppeteer is chosen" if chosen else "")
        return [judged("engines", found, well=not chosen, mend=ENGINES_MEND)]
    return [good("engines", found)]


ENGINES_MEND = (
    "pip install 'makeready[pyppeteer]' where workers run, or makeready.render_engine_set(…, null)"
)
FONTS_MEND = "install fonts: apt-get install fonts-dejavu-core fonts-liberation, or `make setup`"
BROWSER_MEND = (
    f"`{INSTALL}` as root, or `make setup`, or set MAKEREADY_CHROMIUM. No usable sandbox: allow "
    "user namespaces, or install chromium-sandbox; in a container that forbids both, and only "
    "there, MAKEREADY_CHROMIUM_NO_SANDBOX=true"
)


def _version(connection: asyncpg.Connection) -> Finding:
    version = connection.get_server_version()
    return judged(
        "postgres",
        connection.get_settings().server_version,
        well=OLDEST_POSTGRES <= version.major <= NEWEST_POSTGRES,
        mend=f"use PostgreSQL {OLDEST_POSTGRES} to {NEWEST_POSTGRES}",
        verdict="FAIL" if version.major < OLDEST_POSTGRES else "warn",
    )


async def _server_settings(connection: asyncpg.Connection) -> list[Finding]:
    names = [
        "server_encoding",
        "fsync",
        "full_page_writes",
        "max_connections",
        "transaction_read_only",
        "autovacuum",
    ]
    rows = await connection.fetch(
        "select n, current_setting(n) as v from unnest($1::text[]) n", names
    )
    has = {row["n"]: row["v"] for row in rows}
    safe = has["fsync"] == has["full_page_writes"] == "on"
    return [
        judged(
            "encoding",
            has["server_encoding"],
            well=has["server_encoding"] == "UTF8",
            mend="create the database with encoding UTF8",
        ),
        judged(
            "durability",
            f"fsync {has['fsync']}, full_page_writes {has['full_page_writes']}",
            well=safe,
            mend="set both on: a crash may lose or destroy everything",
            verdict="warn",
        ),
        judged(
            "connections",
            has["max_connections"],
            well=int(has["max_connections"]) >= CONNECTIONS_GOAL,
            mend=f"max_connections of at least {CONNECTIONS_GOAL}; a process takes about 12",
            verdict="warn",
        ),
        judged(
            "writable",
            "yes" if has["transaction_read_only"] == "off" else "no",
            well=has["transaction_read_only"] == "off",
            mend="this is a standby: let DATABASE_URL name the primary (target_session_attrs)",
        ),
        judged(
            "autovacuum",
            has["autovacuum"],
            well=has["autovacuum"] == "on",
            mend="set autovacuum = on: claims grow slower with every job that has ended",
            verdict="warn",
        ),
    ]


async def _roles(connection: asyncpg.Connection, settings: Settings) -> list[Finding]:
    if not settings.database_roles:
        return []
    names = ["makeready_http", "makeready_worker"]
    lacking = [
        name
        for name in names
        if not await connection.fetchval(
            "select coalesce(bool_or(pg_has_role(oid, case when current_setting("
            "'server_version_num')::integer >= 160000 then 'set' else 'member' end)), false)"
            " from pg_roles where rolname = $1",
            name,
        )
    ]
    mend = "`makeready migrate`, then grant the roles to the database user"
    text = f"may not become {', '.join(lacking)}" if lacking else ", ".join(names)
    return [judged("roles", text, well=not lacking, mend=mend)]


async def _schema(connection: asyncpg.Connection) -> Finding:
    state = await inspect(connection)
    if state.is_newer:
        text = "a newer version has been here"
        return judged("schema", text, well=False, mend="upgrade this program", verdict="warn")
    text = f"{len(state.pending)} files behind" if state.pending else "current"
    return judged("schema", text, well=state.is_current, mend="run `makeready migrate`")


async def _clock(connection: asyncpg.Connection) -> Finding:
    before = time.time()
    there: float = await connection.fetchval(
        "select extract(epoch from clock_timestamp())::float8"
    )
    ahead = there - (before + time.time()) / 2
    return judged(
        "clock",
        f"the database is {ahead:+.3f} s from this machine",
        well=abs(ahead) <= CLOCK_GOAL_S,
        mend="keep both machines on network time (chrony, systemd-timesyncd)",
        verdict="warn",
    )
