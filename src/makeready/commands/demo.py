"""Prints two packs of documents, one in Russian and one in English, on a system of its own.

It starts Postgres, S3, the HTTP service and a worker on free ports, under var/demo; works through
HTTP as any client would; opens every PDF again; and takes the system away. The documents and the
logs stay.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
from anyio import to_thread

from makeready import documents, pdf, people
from makeready.commands.machine import machine
from makeready.commands.service import Client, ServiceError, new_session, wait_ready
from makeready.commands.supervisor import Child, Supervisor
from makeready.commands.table import text_table
from makeready.config import Settings
from makeready.embedded.processes import free_ports
from makeready.log import configure_logging
from makeready.schema import migrate

LANGUAGES = ("ru", "en")
POLL_S = 0.05
RENDER_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One document that was printed, downloaded and checked."""

    path: Path
    facts: pdf.PdfFacts
    ready_ms: float
    """From the request to render the pack to the status `ready`."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--keep", action="store_true", help="keep the system's data as well")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the documents and a table of them; 0 when all of them are what they should be."""
    started = time.perf_counter()
    configure_logging(settings.log_format, "warning")
    folder = (settings.data_dir / "demo").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = replace(
        settings,
        database_url=None,
        database_direct_url=None,
        s3_endpoint=None,
        s3_presign_endpoint=None,
        data_dir=folder / "system",
        http_host="127.0.0.1",
        http_port=free_ports(1)[0],
        drain_grace_s=5.0,
        log_format="json",
        log_level="info",
    )
    try:
        with machine(own, die_with_parent=True) as found:
            _say(started, "Postgres and S3 run")
            asyncio.run(migrate(found.database_url or ""))
            _say(started, "the schema is in place")
            made = asyncio.run(_on_own_system(found, folder, started))
    finally:
        if not options.keep:
            _remove(own.data_dir)
    _report(made, folder, time.perf_counter() - started)
    return 0


async def _on_own_system(settings: Settings, folder: Path, started: float) -> list[Made]:
    children = [
        Child(name=name, words=(name,), log=folder / f"{name}.log") for name in ("http", "work")
    ]
    supervisor = Supervisor(children, settings.to_env(), grace_s=settings.drain_grace_s)
    made: list[Made] = []

    async def beside() -> None:
        try:
            made.extend(await _print_packs(settings, folder, started))
        finally:
            supervisor.stop()

    signals = asyncio.create_task(supervisor.obey_signals())
    try:
        await supervisor.run(beside)
    except* ServiceError as group:
        raise group.exceptions[0] from None
    finally:
        signals.cancel()
        await asyncio.gather(signals, return_exceptions=True)
    return made


async def _print_packs(settings: Settings, folder: Path, started: float) -> list[Made]:
    url = f"http://{settings.http_host}:{settings.http_port}"
    async with new_session() as session:
        await wait_ready(Client(session=session, base_url=url))
        _say(started, f"the service answers on {url}")
        token = await _token(settings)
        client = Client(session=session, base_url=url, token=token)
        packs = {language: await _render(client, language) for language in LANGUAGES}
        began = time.perf_counter()
        _say(
            started,
            f"{len(packs)} packs of {len(documents.registry())} documents asked for",
        )
        files = await _wait_for_files(client, list(packs.values()), began)
        _say(started, f"{len(files)} documents ready")
        return [
            await _fetch(client, folder / f"{doc_id}.{language}.pdf", *files[pack, doc_id])
            for language, pack in packs.items()
            for doc_id in documents.registry()
        ]


async def _token(settings: Settings) -> str:
    connection = await asyncpg.connect(settings.database_url)
    try:
        user = await people.user_create(connection, "demo")
        return (await people.token_create(connection, user, purpose="demo")).reveal()
    finally:
        await connection.close()


async def _render(client: Client, language: str) -> str:
    """Makes a pack of every document with its sample data, and has it rendered."""
    data = {name: documents.sample(doc, language) for name, doc in documents.registry().items()}
    made = await client.post("/packs", {"language": language, "documents": data})
    pack: str = made["pack_id"]
    asked = await client.post(f"/packs/{pack}/render")
    if asked["jobs_created"] != len(data):
        raise ServiceError(f"{asked['jobs_created']} jobs for {len(data)} documents")
    return pack


async def _wait_for_files(
    client: Client, packs: Sequence[str], began: float
) -> dict[tuple[str, str], tuple[str, float]]:
    """File id and milliseconds of each document; ServiceError when one fails or takes too long."""
    files: dict[tuple[str, str], tuple[str, float]] = {}
    total = len(packs) * len(documents.registry())
    while len(files) < total:
        await asyncio.sleep(POLL_S)
        elapsed_s = time.perf_counter() - began
        for pack in packs:
            answer = await client.get(f"/packs/{pack}/documents")
            for item in answer["documents"]:
                key = (pack, item["doc_id"])
                if item["status"] == "failed":
                    raise ServiceError(f"{item['doc_id']} failed: {item['last_error']}")
                if item["status"] == "ready" and key not in files:
                    files[key] = (item["file_id"], elapsed_s * 1e3)
        _progress(len(files), total)
        if elapsed_s > RENDER_TIMEOUT_S:
            raise ServiceError(f"{len(files)} of {total} documents in {elapsed_s:.0f} s")
    return files


async def _fetch(client: Client, path: Path, file_id: str, ready_ms: float) -> Made:
    link = await client.get(f"/files/{file_id}/download")
    data = await client.download(link["url"])
    facts = await to_thread.run_sync(pdf.verify, data)
    await to_thread.run_sync(path.write_bytes, data)
    return Made(path=path, facts=facts, ready_ms=ready_ms)


def _report(made: Sequence[Made], folder: Path, seconds: float) -> None:
    rows = [
        [
            one.path.name,
            str(one.facts.pages),
            f"{one.facts.text_chars}",
            f"{len(one.facts.fonts)} embedded",
            f"{one.facts.byte_count / 1000:.0f} kB",
            f"{one.ready_ms:.0f} ms",
        ]
        for one in made
    ]
    print(text_table(["document", "pages", "letters", "fonts", "size", "ready after"], rows))
    pages = sum(one.facts.pages for one in made)
    last_ms = max(one.ready_ms for one in made)
    print(
        f"\n{len(made)} documents, {pages} pages in {last_ms / 1e3:.2f} s; all opened and checked."
    )
    print(f"They lie in {folder}, with the logs http.log and work.log. {seconds:.1f} s in all.")


def _say(started: float, text: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write("\r\033[K")
    print(f"[{time.perf_counter() - started:5.1f} s] {text}", flush=True)


def _progress(done: int, total: int) -> None:
    """A line that grows in place, on a terminal only."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r[{'#' * done}{'.' * (total - done)}] {done} of {total} ready")
        sys.stdout.flush()


def _remove(folder: Path) -> None:
    """Removes the system's data, also what lies elsewhere because a server could not reach it."""
    for part in folder.glob("*"):
        if part.is_symlink():
            shutil.rmtree(part.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
