"""Repeats a render or a generation here, to see what comes of it; the job stays as it is.

    makeready rerun 01a200f9-b74e-726d-8f4e-b15c8bd63c51 --local

Takes what the job had to print (also when the job itself was pruned) and the version that it had
pinned, and writes document.html with its assets, then document.pdf or what was wrong with it, into
a folder; of a generation its cards. To have a worker do it again instead, staff requeue the job,
or call makeready.retry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from makeready import posm_making, printing
from makeready.commands.machine import machine
from makeready.commands.rerun_cards import rerun_cards
from makeready.config import Settings
from makeready.db import pool_opened
from makeready.documents.catalogue import Catalogue
from makeready.errors import MakereadyError, NotFound
from makeready.jobs import JobFailed
from makeready.log import configure_logging
from makeready.printing import RenderInput
from makeready.storage import Storage, open_storage

if TYPE_CHECKING:
    from makeready_workers.render_document import Prepared, Workshop

PATIENCE_S = 5.0  # for the database
POOL_SIZE = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("job", type=UUID, metavar="JOB", help="id of the job")
    parser.add_argument(
        "--local",
        action="store_true",
        required=True,
        help="in this process; has to be said, since it is not the queue that runs it",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--html", action="store_true", help="stop at the HTML; no browser is started"
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Repeats the job; 0 when a PDF came out, 1 when not."""
    configure_logging(settings.log_format, "error")
    folder: Path = options.out or settings.data_dir / "rerun" / str(options.job)
    folder.mkdir(parents=True, exist_ok=True)
    with machine(settings) as found:
        return asyncio.run(_repeat(found, options.job, folder, html_only=options.html))


async def _repeat(settings: Settings, job: UUID, folder: Path, *, html_only: bool) -> int:
    async with (
        pool_opened(settings, "makeready_worker", size=POOL_SIZE, patience_s=PATIENCE_S) as pool,
        open_storage(settings) as storage,
    ):
        generation = await posm_making.input_of(pool, job)
        if generation is not None:
            return await rerun_cards(generation, storage, folder)
        wanted = await printing.input_of(pool, job)
        if wanted is None:
            raise NotFound(
                f"job {job} made nothing that is kept: look for its id in pack_documents or "
                "posm_generations; the bundle of a pack cannot be repeated here"
            )
        catalogue = Catalogue(pool, storage, source=settings.config_source)
        print(f"job     {job}")
        print(f"prints  {wanted.doc_id} ({wanted.language}), layout {wanted.layout}")
        again = _Again(wanted=wanted, folder=folder, storage=storage)
        try:
            return await again.run(settings, pool, catalogue, html_only=html_only)
        except Exception as error:
            if not again.tell(error):
                raise
            return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """One repetition, and where what comes of it is written."""

    wanted: RenderInput
    folder: Path
    storage: Storage

    async def get(self, bucket: str, key: str) -> bytes:
        """The archive of a document's own sources."""
        return await replace(self.storage, bucket=bucket).get(key)

    async def run(
        self, settings: Settings, pool: Any, catalogue: Catalogue, *, html_only: bool
    ) -> int:
        # Only this command needs them.
        from makeready_workers.chromium.records import EngineLimits  # noqa: PLC0415
        from makeready_workers.engines import Engines, open_engines  # noqa: PLC0415
        from makeready_workers.render_document import Workshop, prepare  # noqa: PLC0415
        from makeready_workers.witness import Witness  # noqa: PLC0415

        unopened: Any = None
        shop = Workshop(
            pool=pool, catalogue=catalogue, engine=unopened, timeout_s=settings.render_timeout_s
        )
        ready = await prepare(shop, self, self.wanted, Witness())
        self._keep_html(ready)
        if html_only:
            return 0
        engines: Engines
        async with open_engines(settings, limits=EngineLimits(parallel=1)) as engines:
            await self._print(replace(shop, engine=engines), ready)
        return 0

    async def _print(self, shop: Workshop, ready: Prepared) -> None:
        from makeready_workers.render_document import print_ready  # noqa: PLC0415

        printed, body, checked = await print_ready(
            shop, self.wanted, ready, timeout_s=shop.timeout_s
        )
        path = self.folder / "document.pdf"
        path.write_bytes(body)
        times = ", ".join(f"{name} {ms:.0f} ms" for name, ms in printed.timings.items())
        print(f"pdf     {path}: {checked.pages} pages, {len(body)} bytes")
        print(f"engine  {printed.engine_version}: {times}")
        for warning in printed.warnings:
            print(f"warning {warning}")

    def _keep_html(self, ready: Prepared) -> None:
        path = self.folder / "document.html"
        path.write_text(ready.html.html, "utf-8", errors="replace")
        print(f"html    {path}: version {ready.version}")
        own = (self.folder / "assets").resolve()
        for name, asset in ready.html.assets.items():
            place = (own / name).resolve()
            if place.is_relative_to(own):  # names come with what users upload
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(asset.content)

    def tell(self, error: Exception) -> bool:
        """Says what was wrong with the document; False when it is not the document's fault."""
        from makeready_workers.chromium.records import RenderError  # noqa: PLC0415

        if isinstance(error, (JobFailed, RenderError)):
            facts = error.evidence
        elif isinstance(error, MakereadyError):
            facts = error.details
        else:
            return False
        text = error.message if isinstance(error, JobFailed) else str(error)
        print(f"failed  {error.code}: {text}")
        if facts:
            path = self.folder / "evidence.json"
            path.write_text(json.dumps(facts, ensure_ascii=False, indent=2, default=str), "utf-8")
            print(f"seen    {path}")
        screenshot = getattr(error, "screenshot", None)
        if screenshot:
            path = self.folder / "screenshot.jpg"
            path.write_bytes(screenshot)
            print(f"picture {path}")
        return True
