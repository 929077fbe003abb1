"""Checks everything a run needs and says how to mend what is not well; exit code 1 on a FAIL.

Where no database and no S3 are configured, it looks at those that `makeready up` runs, or starts
its own for as long as it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from makeready.commands import card_checks, checks, document_checks, photo_checks
from makeready.commands.checks import Finding, good
from makeready.commands.machine import machine, running
from makeready.commands.migrate import brought_up
from makeready.commands.table import text_table
from makeready.config import Settings
from makeready.embedded.processes import EmbeddedError
from makeready.log import configure_logging

DATABASE_MEND = "see that the server runs and DATABASE_URL names it with user and password"
LISTEN_MEND = "set DATABASE_DIRECT_URL to the server behind the pooler"
OWN_MEND = (
    "do what the text says, or set DATABASE_URL and S3_ENDPOINT to servers that run elsewhere"
)
STORAGE_MEND = "see that S3 runs; check S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_BUCKET"

Check = Callable[[], Awaitable[list[Finding]]]


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line, not a table")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the findings; 1 when one of them is a FAIL."""
    configure_logging(settings.log_format, "error")
    findings = [
        *checks.check_python(),
        *checks.check_disk(settings),
        *checks.check_sign_in(running(settings)),
        *checks.check_messages(settings),
    ]
    with _servers(settings, findings) as found:
        findings += asyncio.run(_look(found))
    if options.json:
        for one in findings:
            print(json.dumps(asdict(one), ensure_ascii=False))
    else:
        _print(findings)
    return 1 if any(one.verdict == "FAIL" for one in findings) else 0


@contextmanager
def _servers(settings: Settings, findings: list[Finding]) -> Iterator[Settings]:
    """Our own servers, where others are not configured; what cannot start becomes a finding."""
    there = running(settings)
    servers = {"Postgres": there.database_url, "S3": there.s3_endpoint}
    own = [name for name, address in servers.items() if address is None]
    with ExitStack() as stack:
        try:
            found = stack.enter_context(machine(settings))
        except (EmbeddedError, OSError) as error:
            findings.append(_failed("own servers", error, OWN_MEND))
            yield settings
            return
        if own:
            findings.append(good("own servers", f"{' and '.join(own)} of our own"))
        if "Postgres" in own:  # the schema of a running system is looked at, not changed
            asyncio.run(brought_up(found.database_url or "", found))
        yield found


async def _look(settings: Settings) -> list[Finding]:
    steps: list[tuple[str, Check, str]] = [
        ("browser", lambda: checks.check_browser(settings), checks.BROWSER_MEND),
        (card_checks.WHAT, card_checks.check_cards, card_checks.MEND),
    ]
    if settings.s3_endpoint is not None:
        steps.insert(0, ("object storage", lambda: checks.check_storage(settings), STORAGE_MEND))
    if settings.database_url is not None:
        steps[:0] = [
            ("database", lambda: checks.check_database(settings), DATABASE_MEND),
            ("notifications", lambda: checks.check_listen(settings), LISTEN_MEND),
        ]
        types = document_checks.check_types
        steps.append((document_checks.WHAT, lambda: types(settings), document_checks.MEND))
        photos = photo_checks.check_photos
        steps.append((photo_checks.WHAT, lambda: photos(settings), photo_checks.MEND))
        if settings.s3_endpoint is not None or settings.media_store == "folder":
            files = photo_checks.check_files
            steps.append((photo_checks.FILES, lambda: files(settings), photo_checks.FILES_MEND))
        steps.append(("engines", lambda: checks.check_engines(settings), checks.ENGINES_MEND))
    findings: list[Finding] = []
    for what, check, mend in steps:
        try:
            findings += await check()
        except Exception as error:  # noqa: BLE001 – whatever it is, the report names it
            findings.append(_failed(what, error, mend))
    return findings


def _failed(what: str, error: BaseException, mend: str) -> Finding:
    text = str(error) or type(error).__name__
    return Finding(what=what, verdict="FAIL", found=text, mend=mend)


def _print(findings: list[Finding]) -> None:
    rows = [[one.verdict, one.what, one.found.splitlines()[0]] for one in findings]
    print(text_table(["", "what", "found"], rows))
    for one in findings:
        if one.verdict != "ok":
            print(f"\n{one.verdict} {one.what}: {one.found}\n  mend: {one.mend}")
    failed = sum(one.verdict == "FAIL" for one in findings)
    sys.stdout.write(f"\n{failed} to mend\n" if failed else "\nall is well\n")
