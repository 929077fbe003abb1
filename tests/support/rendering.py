"""What tests of the render slice share: people, packs, and a worker that needs no browser."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from makeready import leases, library, people, printing, render
from makeready.jobs import FailKind
from makeready.leases import Claimed
from makeready.render import ShippedType
from makeready.storage import ObjectFacts, Storage
from tests.support.waiting import until

DOCS = ("invoice", "letter", "report")
PDF = b"%PDF-1.7 a page"


class Press:
    """The slice as one session sees it; documents `invoice`, `letter` and `report` exist."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self.db = db
        self.bundles: list[Claimed] = []
        self._worker: UUID | None = None

    async def open(self, *docs: str) -> Press:
        """Makes the document types known; by default all three."""
        await self.sync(*(docs or DOCS))
        return self

    async def sync(self, *docs: str, **changes: Any) -> int:
        """Makes these the shipped types; `changes` replace fields of each."""
        facts: dict[str, Any] = {
            "title_ru": "Счёт",
            "title_en": "Title",
            "tier": "free",
            "enabled": True,
        }
        facts |= {"version": "v1"} | changes
        return await render.sync_types(self.db, [ShippedType(id=doc, **facts) for doc in docs])

    async def user(self, name: str = "Анна") -> UUID:
        """A new user."""
        return await people.user_create(self.db, name)

    async def pack(self, user: UUID, *docs: str, **options: Any) -> UUID:
        """A new pack with data for these documents, by default all three; not bundled."""
        data = {doc: {"number": place} for place, doc in enumerate(docs or DOCS)}
        options.setdefault("language", "ru")
        options.setdefault("bundled", False)
        return (await render.pack_create(self.db, user, data, **options)).pack_id

    async def job_of(self, user: UUID, pack: UUID, doc: str) -> UUID:
        """Renders one document; its job."""
        return (await render.render_document(self.db, user, pack, doc)).job_id

    async def claim(self, most: int = 1) -> list[Claimed]:
        """Takes documents, as a worker that has just shown that it lives.

        Bundles on the way are put aside in `bundles`.
        """
        if self._worker is None:
            self._worker = uuid4()
            await self.db.execute(
                "select makeready.worker_register($1, $2, 'here', 1, 4, '{render}', '1',"
                " interval '10 seconds', false)",
                self._worker,
                str(self._worker),
            )
        while True:
            await self.db.execute("select makeready.beat($1, '{}', '{}', '{}')", self._worker)
            found = await leases.claim(self.db, [render.QUEUE], self._worker, most)
            documents = [each for each in found if each.job.payload.get("kind") != "pack"]
            self.bundles += [each for each in found if each not in documents]
            if documents or not found:
                return documents

    async def bundle(self) -> Claimed:
        """Takes the one job of a bundle that is due."""
        assert not await self.claim()
        return self.bundles.pop()

    async def one(self) -> Claimed:
        """Takes the one job that is due."""
        (claimed,) = await self.claim()
        return claimed

    async def publish(
        self, claimed: Claimed, *, key: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> str:
        """Ends a job well; its key has the lease's token, as that of a real worker."""
        return await printing.publish(
            self.db, claimed.lease, stored(claimed, key), facts or {"pages": 1}
        )

    async def print_next(self, storage: Storage) -> None:
        """Takes the next job, as soon as there is one; its PDF lies in storage."""
        (claimed,) = await until(self.claim, what="a job")
        key = f"renders/{claimed.job.id}/{claimed.job.payload['doc_id']}.pdf"
        facts = await storage.put(key, PDF, media_type="application/pdf")
        await printing.publish(self.db, claimed.lease, facts, {"pages": 1})

    async def fail(
        self, claimed: Claimed, kind: FailKind = "fatal", code: str = "TEMPLATE_ERROR"
    ) -> str:
        """Ends an attempt badly."""
        return await leases.fail(self.db, claimed.lease, kind, {"code": code, "message": "so"})

    async def rendered(self, user: UUID, pack: UUID, doc: str) -> UUID:
        """Renders one document to its end; its file."""
        await self.job_of(user, pack, doc)
        await self.publish(await self.one())
        file_id = (await self.document(user, pack, doc)).file_id
        assert file_id is not None
        return file_id

    async def document(self, user: UUID, pack: UUID, doc: str) -> library.DocumentState:
        """One document as its owner sees it."""
        found = await library.documents(self.db, user, pack)
        return next(state for state in found if state.doc_id == doc)

    async def states(self, user: UUID, pack: UUID) -> Sequence[str]:
        """The public state of each document, in order."""
        return [state.status for state in await library.documents(self.db, user, pack)]

    async def open_count(self, pack: UUID) -> int:
        """What the pack itself says about its open renders."""
        count: int = await self.db.fetchval(
            "select open_count from makeready.packs where id = $1", pack
        )
        return count


def stored(claimed: Claimed, key: str | None = None) -> ObjectFacts:
    """What storage would say of the PDF of this attempt."""
    return ObjectFacts(
        bucket="bucket",
        key=key or f"renders/{claimed.job.id}/{claimed.lease.token}/x.pdf",
        byte_count=len(PDF),
        etag="e",
        media_type="application/pdf",
        sha256=hashlib.sha256(PDF).digest(),
    )
