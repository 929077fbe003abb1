"""Prints packs of all documents through the HTTP service, and opens every PDF again.

What `makeready demo` and `makeready smoke` do once there is a service.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from makeready import documents, pdf
from makeready.commands.service import Client, ServiceError
from makeready.commands.table import text_table
from makeready.wording import LANGUAGES

POLL_S = 0.05
RENDER_TIMEOUT_S = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One document that was printed, downloaded and checked."""

    path: Path
    facts: pdf.PdfFacts
    ready_ms: float
    """From the request to render the pack to the status `ready`."""


async def print_packs(client: Client, folder: Path, say: Say) -> list[Made]:
    """A pack in each language, its files in the folder; ServiceError when anything is amiss."""
    packs = {language: await _render(client, language) for language in LANGUAGES}
    began = time.perf_counter()
    say(f"{len(packs)} packs of {len(documents.registry())} documents asked for")
    files = await _wait_for_files(client, list(packs.values()), began)
    say(f"{len(files)} documents ready")
    return [
        await _fetch(client, folder / f"{doc_id}.{language}.pdf", *files[pack, doc_id])
        for language, pack in packs.items()
        for doc_id in documents.registry()
    ]


def made_table(made: Sequence[Made]) -> str:
    """The table of what was printed, and a line that sums it up."""
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
    text = f"{len(made)} documents, {pages} pages in {last_s:.2f} s; all opened and checked."
    return f"{text_table(head, rows)}\n\n{text}"


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


def _progress(done: int, total: int) -> None:
    """A line that grows in place, on a terminal only."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r[{'#' * done}{'.' * (total - done)}] {done} of {total} ready")
        sys.stdout.flush()
