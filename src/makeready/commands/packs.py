"""Prints hiring packs through the HTTP service, and opens every file again.

What `makeready demo` does once there is a service.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from makeready import hiring, pdf
from makeready.commands.service import Client, ServiceError
from makeready.commands.table import text_table

POLL_S = 0.05
RENDER_TIMEOUT_S = 180.0
PROFESSIONS = {"ru": "Руководитель отдела продаж", "en": "Head of Sales"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One PDF that was printed, downloaded and checked."""

    path: Path
    facts: pdf.PdfFacts
    ready_ms: float
    """From the request to render the pack until the file was there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One ZIP that was downloaded and whose files were read."""

    path: Path
    files: int
    byte_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What came of the packs."""

    pdfs: list[Made]
    archives: list[Archive]


async def print_packs(client: Client, folder: Path, say: Say) -> Printed:
    """A pack in each language, its files in the folder; ServiceError when anything is amiss."""
    packs = {lang: await _render(client, lang, role) for lang, role in PROFESSIONS.items()}
    began = time.perf_counter()
    say(f"{len(packs)} packs of {len(hiring.DOCUMENTS)} documents asked for")
    files = await _wait_for_files(client, list(packs.values()), began)
    say(f"{len(files)} documents ready")
    made, archives = [], []
    for lang, pack in packs.items():
        for doc_id in hiring.DOCUMENTS:
            path = folder / f"{doc_id}.{lang}.pdf"
            made.append(await _fetch(client, path, *files[pack, doc_id]))
        whole, archive, ready_ms = await _wait_for_bundle(client, pack, began)
        made.append(await _fetch(client, folder / f"pack.{lang}.pdf", whole, ready_ms))
        archives.append(await _fetch_archive(client, folder / f"pack.{lang}.zip", archive))
    say(f"{len(packs)} packs put together, each as one PDF and as a ZIP")
    return Printed(pdfs=made, archives=archives)


def made_table(printed: Printed) -> str:
    """The table of what was printed, and lines that sum it up."""
    made = printed.pdfs
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
    head = ["document", "pages", "letters", "fonts", "size", "ready after"]
    pages = sum(one.facts.pages for one in made)
    last_s = max(one.ready_ms for one in made) / 1e3
    lines = [f"{len(made)} PDFs, {pages} pages in {last_s:.2f} s; all opened and checked."]
    lines += [
        f"{one.path.name}: {one.files} files, {one.byte_count / 1000:.0f} kB"
        for one in printed.archives
    ]
    return f"{text_table(head, rows)}\n\n" + "\n".join(lines)


async def _render(client: Client, language: str, profession: str) -> str:
    """Makes a hiring pack and has it rendered."""
    data = hiring.pack(profession, language)
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
    total = len(packs) * len(hiring.DOCUMENTS)
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


async def _wait_for_bundle(client: Client, pack: str, began: float) -> tuple[str, str, float]:
    """The files of the whole pack, PDF and ZIP, and the milliseconds until they were there."""
    while True:
        found = await client.get(f"/packs/{pack}")
        elapsed_s = time.perf_counter() - began
        if found["pack_file_id"] and found["zip_file_id"]:
            return found["pack_file_id"], found["zip_file_id"], elapsed_s * 1e3
        if elapsed_s > RENDER_TIMEOUT_S:
            raise ServiceError(f"pack {pack} was not put together in {elapsed_s:.0f} s")
        await asyncio.sleep(POLL_S)


async def _fetch_archive(client: Client, path: Path, file_id: str) -> Archive:
    link = await client.get(f"/files/{file_id}/download")
    data = await client.download(link["url"])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        broken = archive.testzip()
        if broken:
            raise ServiceError(f"{path.name}: {broken} is broken")
        names = archive.namelist()
    await to_thread.run_sync(path.write_bytes, data)
    return Archive(path=path, files=len(names), byte_count=len(data))


async def _fetch(client: Client, path: Path, file_id: str, ready_ms: float) -> Made:
    link = await client.get(f"/files/{file_id}/download")
    data = await client.download(link["url"])
    facts = await to_thread.run_sync(pdf.verify, data)
    await to_thread.run_sync(path.write_bytes, data)
    return Made(path=path, facts=facts, ready_ms=ready_ms)


def _progress(done: int, total: int) -> None:
    """A line that grows in place, on a terminal only."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r[{'#' * done}{'.' * (total - done)}] {done} of {total} ready")
        sys.stdout.flush()
