"""What `doctor` says about photos: their database, settings that count no more, keys, files."""

from __future__ import annotations

import asyncpg

from makeready import photo_policy, photo_providers
from makeready.commands.checks import Finding, good, judged
from makeready.commands.migrate import PHOTOS_SETTING, connected, schema_state
from makeready.config import Settings
from makeready.media_opening import open_media
from makeready.photo_policy import Policy
from makeready.photo_settings import SYNC_MIN_S
from makeready.sealing import Sealer
from makeready.storage import open_storage

WHAT = "photos"
MEND = f"see that `makeready migrate` has run, and that {PHOTOS_SETTING} names the database"
FILES = "files of photos"
FILES_MEND = "make MEDIA_ROOT a folder that this user may write to, or see that S3 runs"


async def check_photos(settings: Settings) -> list[Finding]:
    """Settings, password and keys, as far as the database of photos has them."""
    found = []
    apart = settings.photos_apart
    if apart is not None:
        state = await schema_state(apart)
        text = "current" if state.is_current else f"{len(state.pending)} files behind"
        fine = state.is_current or state.is_newer
        found.append(judged("schema of photos", text, well=fine, mend="run `makeready migrate`"))
    async with connected(settings.photos_url) as connection:
        if await connection.fetchval("select to_regclass('makeready.ingest_seeds') is null"):
            return [*found, good(WHAT, "not looked at: the schema is missing")]
        policy = await photo_policy.read(connection)
        found += [
            _window(settings, policy),
            _password(policy),
            await _keys(connection, settings),
            *await _differences(connection, settings),
        ]
    return found


async def check_files(settings: Settings) -> list[Finding]:
    """Whether photos can be stored, and how much room there is."""
    async with open_storage(settings) as storage, open_media(settings, storage) as media:
        await media.check()
        free = await media.free_bytes()
    async with connected(settings.photos_url) as connection:
        least = (await photo_policy.read(connection)).min_free_bytes
    where = "the bucket" if settings.media_store == "bucket" else f"{settings.media_folder}"
    text = where if free is None else f"{where}, {free / 1e9:.1f} GB free"
    return [
        judged(
            FILES,
            text,
            well=free is None or free >= least,
            mend=f"make room: no photo is taken below {least / 1e9:.1f} GB (min_free_bytes)",
        )
    ]


def _window(settings: Settings, policy: Policy) -> Finding:
    statement_s = settings.ingest_statement_timeout_ms / 1000
    is_short = policy.sync_response_s < SYNC_MIN_S and not settings.testing
    mend = f"lower QUEUE_STATEMENT_TIMEOUT_MS: a statement may take {statement_s:g} s"
    if is_short:
        mend = """select makeready.ingest_settings_put('{"sync_response_s": 48}')"""
    return judged(
        WHAT,
        f"a booth is answered within {policy.sync_response_s:g} s, "
        f"{policy.max_in_flight or 'any number'} open at a time",
        well=statement_s < policy.sync_response_s and not is_short,
        mend=mend,
    )


def _password(policy: Policy) -> Finding:
    return judged(
        "password of slots",
        "set" if policy.has_password else "none: no booth gets in",
        well=policy.has_password,
        mend="set INGEST_PASSWORD and run `makeready migrate`, or PUT /api/settings",
        verdict="warn",
    )


async def _keys(connection: asyncpg.Connection, settings: Settings) -> Finding:
    what = "keys of providers"
    sealer = Sealer.of(settings.secrets_key)
    shut = await photo_providers.keys_shut(connection, sealer)
    if shut:
        mend = "put the former key behind a comma in MAKEREADY_SECRETS_KEY, or enter theirs anew"
        return judged(what, f"cannot be opened: {', '.join(shut)}", well=False, mend=mend)
    own = settings.database_url is None
    missing = "made by `makeready up`" if own else "MAKEREADY_SECRETS_KEY is not set"
    return judged(
        what,
        "encrypted with a key of its own" if sealer.is_able else missing,
        well=sealer.is_able or own,
        mend="set MAKEREADY_SECRETS_KEY to what `openssl rand -hex 32` prints, everywhere",
        verdict="warn",
    )


async def _differences(connection: asyncpg.Connection, settings: Settings) -> list[Finding]:
    mend = (
        "unset it or set it to what is in force (a password may come from ingest_password in the "
        "data folder), or change that: PUT /api/settings, ingest_settings_put in psql"
    )
    return [
        judged(
            each.setting,
            f"{each.given}, which counts no more: in force is {each.in_force}",
            well=False,
            mend=mend,
            verdict="warn",
        )
        for each in await photo_policy.differences(connection, settings)
    ]
