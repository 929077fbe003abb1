"""One generation, from its frozen input to cards that are stored and entered.

template, assets ─ fetched ─► press in the stamping process ─ proven on one card
    chunk of cards ─ stamped, verified ─► object storage ─► entered, which renews the attempt

While a chunk is stored the next one is stamped. What was entered stays: a later attempt goes on
at the first card that was not.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import asyncpg
import structlog

from makeready import posm_making, stamping
from makeready.errors import unknown
from makeready.posm_making import GenerationInput, MadeCard
from makeready.stamping import OpenPress, StampedCard, StampingFailed
from makeready.storage_errors import ObjectExists, StorageUnavailable
from makeready_workers.storing import Store

CHUNK, FIRST_CHUNK = 50, 10
"""Cards at most that are stamped in one go, and entered in one transaction."""
CHUNK_S = 2.0  # cards that take long come in smaller chunks: each has its deadline, and is kept
PUTS = 16  # at a time
WINDOW_BYTES = 64 << 20
"""Of cards that are on their way to the store."""
MEDIA_TYPE = "application/pdf"

_log = structlog.get_logger(__name__)


async def make_cards(pool: asyncpg.Pool, store: Store) -> Mapping[str, Any]:
    """Stamps, verifies, stores and enters all cards that are not yet; facts for the finish."""
    stamper = await stamping.version()
    forgotten = await posm_making.begin(pool, store.lease, stamper)
    given = await posm_making.input_of(pool, store.job.id)
    if given is None:
        raise unknown("generation_not_found", generation_id=store.job.id)
    order = await posm_making.order_of(given, lambda file: store.get(file.bucket, file.key))
    todo = [index for index, card in enumerate(given.cards) if card.sha256 is None]
    async with stamping.press(order, stamping.facts_of(given.inspection)) as press:
        if press.stamper != stamper:
            raise StampingFailed("what stamps was replaced while this process ran")
        _log.info("posm_opened", cards=len(given.cards), todo=len(todo), forgotten=forgotten)
        proven = await press.prove(todo[0]) if todo else 0
        run = _Run(pool, store, given, press)
        await run.make(todo)
        await run.mend()
    facts = {"cards": len(given.cards), "made": len(todo), "stamper": stamper}
    return facts | {"proven_pages": proven}


class _Run:
    """The cards of one attempt on their way from the press to the database."""

    def __init__(
        self, pool: asyncpg.Pool, store: Store, given: GenerationInput, press: OpenPress
    ) -> None:
        self._pool = pool
        self._store = store
        self._given = given
        self._press = press
        self._prefix = f"posm/{store.job.id}"
        self._digests = {index: card.sha256 for index, card in enumerate(given.cards)}
        self._sizes: dict[int, int] = {}
        """Of the cards of this attempt."""
        size = max(1, len(press.prefix))
        self._puts = anyio.CapacityLimiter(max(1, min(PUTS, WINDOW_BYTES // size)))

    async def make(self, indexes: Sequence[int]) -> None:
        """Makes these cards; they are entered chunk by chunk, in this order."""
        made = 0
        async with self._stamped(indexes) as chunks:
            async for chunk in chunks:
                stored = await self._stored(chunk)
                await self._store.lease.reported(
                    functools.partial(posm_making.keep, self._pool, self._store.lease, stored)
                )
                made += len(chunk)
                _log.info("posm_progress", made=made, of=len(indexes))

    async def mend(self) -> None:
        """Makes again what storage has taken and lists not; raises StorageUnavailable."""
        if missing := await self._missing():
            _log.warning("posm_cards_missing", cards=len(missing))
            await self.make(missing)
            if await self._missing():
                raise StorageUnavailable(f"{len(missing)} cards were stored and are not there")

    async def _missing(self) -> list[int]:
        """The cards that are not listed, or with another size than they were stored with."""
        there = await self._store.sizes(f"{self._prefix}/")
        length = len(self._stem(self._given.cards[0].uuid, bytes(32)))
        stems = {key[:length]: size for key, size in there.items()}
        return [
            index
            for index, card in enumerate(self._given.cards)
            if (stem := self._stem(card.uuid, self._digests[index])) not in stems
            or stems[stem] != self._sizes.get(index, stems[stem])
        ]

    @asynccontextmanager
    async def _stamped(
        self, indexes: Sequence[int]
    ) -> AsyncIterator[AsyncIterator[list[StampedCard]]]:
        """Chunks as they come off the press, which is one ahead of whoever takes them."""
        send, receive = anyio.create_memory_object_stream[list[StampedCard]](0)

        async def stamp() -> None:
            place, most = 0, FIRST_CHUNK
            async with send:
                while place < len(indexes):
                    chunk = _neighbours(indexes, place, min(most, CHUNK))
                    began = time.monotonic()
                    cards = await self._press.stamp(chunk.start, chunk.stop)
                    most = max(1, int(len(chunk) * CHUNK_S / (time.monotonic() - began)))
                    place += len(chunk)
                    await send.send(cards)

        async with anyio.create_task_group() as group:
            group.start_soon(stamp)
            async with receive:
                yield receive
            group.cancel_scope.cancel()

    async def _stored(self, cards: Sequence[StampedCard]) -> list[MadeCard]:
        """Stores all of them; in order."""
        found: dict[int, MadeCard] = {}

        async def put(card: StampedCard) -> None:
            async with self._puts:
                found[card.index] = await self._put(card)

        async with anyio.create_task_group() as group:
            for card in cards:
                group.start_soon(put, card)
        return [found[card.index] for card in cards]

    async def _put(self, card: StampedCard) -> MadeCard:
        """Stores one card under a key of its bytes.

        The same card of an earlier attempt is found there and counts as stored. Where the key is
        taken by something older, which the orphan scan may be deleting, it gets one of its own.
        """
        table = self._given.cards[card.index].uuid
        key = self._stem(table, card.sha256)
        body = self._press.prefix + card.tail
        put = functools.partial(
            self._store.put_new, body=body, media_type=MEDIA_TYPE, digest=card.sha256
        )
        try:
            stored = await self._store.patiently(lambda: put(f"{key}.pdf"), key)
        except ObjectExists:
            own = f"{key}-{self._store.lease.token.hex[:12]}.pdf"
            stored = await self._store.patiently(lambda: put(own), own)
        self._digests[card.index], self._sizes[card.index] = card.sha256, card.byte_count
        return MadeCard(uuid=table, stored=stored, crc32=card.crc32, evidence=card.evidence)

    def _stem(self, table: UUID, digest: bytes | None) -> str:
        return f"{self._prefix}/{table}-{digest.hex()[:12] if digest else ''}"


def _neighbours(indexes: Sequence[int], place: int, most: int) -> range:
    """The run of neighbours that begins at this place, at most so many."""
    first, stop = indexes[place], indexes[place] + 1
    for index in indexes[place + 1 : place + most]:
        if index != stop:
            break
        stop += 1
    return range(first, stop)
