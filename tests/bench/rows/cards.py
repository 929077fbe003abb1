"""What table cards cost: stamped, verified, made end to end, sent as an archive.

Rates count the processor time of one core, so that a neighbour moves them less; they are a
core's own. The naive way is the usual one: open the template, insert a picture of the code and a
text, save it with its fonts.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import json
import logging
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pymupdf
import segno
import structlog

from makeready import posm
from makeready.cards.order import Order
from makeready.cards.press import Card, Press
from makeready.cards.verify import Verifier
from makeready.config import Secret, Settings
from makeready.db import pool_opened
from makeready.embedded.objectstore import EmbeddedObjectStore
from makeready.storage import Storage, open_storage
from makeready_workers.handler import Context
from makeready_workers.posm import open_handler
from tests.bench.bench import Bench, Row
from tests.bench.report import Line, at_least, at_most, median, quantile
from tests.support.card_templates import heavy, light, order_for
from tests.support.generating import Cardroom
from tests.support.in_process import working
from tests.support.waiting import until
from tests.support.workshop import stored_template

STAMPING, MAKING, SENDING = "cards-stamped", "cards-made", "cards-sent"
DRIVE_ARCHIVE = Path(__file__).parents[1] / "drive_archive.py"
TICK_S = 0.001
SENDING_TIMEOUT_S = 120.0
MADE = 1000
_PX_PER_MODULE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A template and what is wanted of it, in cards a second and a core."""

    name: str
    order: Order
    stamped_goal: float
    verified_goal: float


def kinds(count: int) -> tuple[Kind, ...]:
    """The light template and the heavy one."""
    return (
        Kind(
            name="light",
            order=order_for(light(), count),
            stamped_goal=2000,
            verified_goal=420,
        ),
        Kind(
            name="5 MB",
            order=order_for(heavy(), count, pages=(1, 2)),
            stamped_goal=1600,
            verified_goal=260,
        ),
    )


def per_second(work: Callable[[int], object], count: int, first: int = 0) -> float:
    """How often a second of this process's own time does the work."""
    began = time.process_time()
    for index in range(first, first + count):
        work(index)
    return count / (time.process_time() - began)


def naive(order: Order) -> Callable[[int], bytes]:
    """A card as it is usually made."""
    font = pymupdf.Font("notosbo")
    pages = order.settings["fields"][0]["pages"]

    def card(index: int) -> bytes:
        table = order.rows[index]["table"]
        picture = io.BytesIO()
        segno.make(str(table["url"]), error="m").save(picture, kind="png", scale=_PX_PER_MODULE)
        with pymupdf.open("pdf", order.pdf) as document:
            for number in pages:
                page = document[number - 1]
                page.insert_image(pymupdf.Rect(80, 130, 230, 280), stream=picture.getvalue())
                page.insert_font(fontname="label", fontbuffer=font.buffer)
                label = f"Стол № {table['number']}"
                page.insert_textbox((30, 300, 270, 340), label, fontname="label", fontsize=20)
            return bytes(document.tobytes(garbage=3, deflate=True))

    return card


def raw(press: Press) -> Callable[[int], object]:
    """The least that a card of these bytes needs: deflate, one copy, both sums of what is new."""
    card = press.stamp(0)
    size = sum(len(operators) for operators in card.drawn.operators.values())
    stream = b"".join(card.drawn.operators.values())[:size]
    digest, crc = hashlib.sha256(press.prefix), zlib.crc32(press.prefix)

    def bytes_of_it(_: int) -> object:
        zlib.compress(stream, 6)
        own = digest.copy()
        own.update(card.tail)
        return press.prefix + card.tail, own.digest(), zlib.crc32(card.tail, crc)

    return bytes_of_it


def rates(kind: Kind, bench: Bench) -> dict[str, float]:
    """Cards a second of each way, the median of rounds in which they take turns."""
    found: dict[str, list[float]] = {}
    many, few = bench.scaled(400, 60), bench.scaled(12, 3)
    for _ in range(bench.rounds):
        press = Press.open(kind.order)
        verifier = Verifier(press)
        cards: list[Card] = []

        def stamp(index: int, press: Press = press, cards: list[Card] = cards) -> bytes:
            card = press.stamp(index)
            cards.append(card)
            return press.whole(card)

        def both(index: int, press: Press = press, verifier: Verifier = verifier) -> object:
            return verifier.check(press.stamp(index))

        turns: dict[str, tuple[Callable[[int], object], int]] = {
            "naive": (naive(kind.order), few),
            "raw limit": (raw(press), many),
            "stamped": (stamp, many),
            "stamped and verified": (both, many),
        }
        for name, (work, count) in turns.items():
            work(0)  # warm
            found.setdefault(name, []).append(per_second(work, count))
    return {name: median(each) for name, each in found.items()}


async def stamping(bench: Bench) -> Sequence[Line]:
    """Rates of one core, beside the naive way and what the bytes alone cost."""
    if bench.is_slow:
        return []
    lines: list[Line] = []
    for kind in kinds(bench.scaled(400, 60)):
        found = await asyncio.to_thread(rates, kind, bench)
        lines += [
            bench.figure(STAMPING, f"{kind.name}: {name}", rate, "/s")
            for name, rate in found.items()
        ]
        stamped, verified = found["stamped"], found["stamped and verified"]
        for what, value, bound in (
            (f"{kind.name}: stamped ≥ {kind.stamped_goal:,.0f}/s", stamped, kind.stamped_goal),
            (f"{kind.name}: verified ≥ {kind.verified_goal:.0f}/s", verified, kind.verified_goal),
            (f"{kind.name}: stamped ≥ 30 × naive", stamped, 30 * found["naive"]),
            (f"{kind.name}: verified ≥ 8 × naive unverified", verified, 8 * found["naive"]),
        ):
            lines.append(at_least(STAMPING, bench.device, what, value, bound))
    return lines


@asynccontextmanager
async def lag_watched() -> AsyncIterator[list[float]]:
    """How late a sleeper of 1 ms is woken meanwhile, in milliseconds."""
    late: list[float] = []
    loop = asyncio.get_running_loop()

    async def watch() -> None:
        while True:
            began = loop.time()
            await asyncio.sleep(TICK_S)
            late.append((loop.time() - began - TICK_S) * 1e3)

    watcher = asyncio.create_task(watch())
    try:
        yield late
    finally:
        watcher.cancel()


@asynccontextmanager
async def store_running(bench: Bench) -> AsyncIterator[Settings]:
    """An object store of the row's own, on a fresh database."""
    store = EmbeddedObjectStore(bench.folder / "cards-s3")
    await asyncio.to_thread(store.start)
    try:
        yield Settings(
            database_url=await bench.cluster.fresh("bench_cards", with_makeready=True),
            s3_endpoint=store.endpoint,
            s3_bucket=store.bucket,
            s3_access_key=store.access_key,
            s3_secret_key=Secret(store.secret_key),
        )
    finally:
        await asyncio.to_thread(store.kill)


async def made_once(
    db: asyncpg.Connection, room: Cardroom, template: UUID, tables: int
) -> tuple[float, list[float]]:
    """Seconds from the press of the button to the state done, and the loop's lag meanwhile."""
    place = await room.restaurant(tables)
    async with lag_watched() as late:
        began = time.perf_counter()
        generation = (await room.press(template, place)).id

        async def ended() -> str | None:
            status = (await posm.read(db, generation)).status
            return status if status in {"done", "error"} else None

        status = await until(ended, timeout_s=120, what="a generation")
        took = time.perf_counter() - began
    if status != "done":
        raise RuntimeError(f"the generation ended as {status}")
    return took, late


async def making(bench: Bench) -> Sequence[Line]:
    """A thousand verified cards from the button to done, uploaded to a store on this machine."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    tables = bench.scaled(MADE, 100)
    times: list[float] = []
    late: list[float] = []
    async with store_running(bench) as settings, _makers(settings) as (db, storage):
        room = await Cardroom(db).open()
        template = await stored_template(db, storage)
        gc.freeze()  # as a worker process does when it has started
        for _ in range(bench.rounds + 1):  # the first one warms up
            took, lag = await made_once(db, room, template, tables)
            times.append(took)
            late += lag if len(times) > 1 else []
    took, worst, usual = median(times[1:]), max(late), quantile(late, 0.99)
    return [
        bench.figure(MAKING, f"{tables:,} cards from the button to done", took, "s"),
        bench.figure(MAKING, "lag of the event loop meanwhile, p99", usual, "ms"),
        bench.figure(MAKING, "the same, longest", worst, "ms"),
        at_most(MAKING, bench.device, f"{tables:,} cards ≤ 4 s", took, 4, unit="s"),
        at_most(MAKING, bench.device, "lag p99 ≤ 5 ms", usual, 5),
    ]


@asynccontextmanager
async def _makers(settings: Settings) -> AsyncIterator[tuple[asyncpg.Connection, Storage]]:
    """A worker in this process, and a session beside it."""
    async with (
        pool_opened(settings, "makeready_worker", size=settings.tasks) as pool,
        open_storage(settings) as storage,
        open_handler(Context(settings=settings, pool=pool, storage=storage)) as handler,
        working(settings, handler),
    ):
        db = await asyncpg.connect(settings.database_url)
        try:
            yield db, storage
        finally:
            await db.close()


async def sending(bench: Bench) -> Sequence[Line]:
    """An archive of a thousand cards out of a store whose first byte takes 20 ms."""
    if bench.is_slow:
        return []
    lines: list[Line] = []
    for name, size in (("45 kB", 45_000), ("4.8 MB", 4_800_000)):
        cards = bench.scaled(MADE, 50)
        found = [await _sent(cards, size) for _ in range(bench.rounds)]
        seconds = median([each["seconds"] for each in found])
        rate = median([each["mb"] / each["seconds"] for each in found])
        grown = max(each["grown_mb"] for each in found)
        lines += [
            bench.figure(SENDING, f"ZIP of {cards:,} cards of {name}", seconds, "s"),
            bench.figure(SENDING, "the same", rate, "MB/s"),
            bench.figure(SENDING, "the same: memory grown", grown, "MB"),
            at_most(SENDING, bench.device, f"ZIP, {name}: ≤ 32 MB more", grown, 32, unit="MB"),
        ]
        if size < 1_000_000:
            goal = f"ZIP of {cards:,} cards ≤ 2 s"
            lines.append(at_most(SENDING, bench.device, goal, seconds, 2, unit="s"))
        else:
            goal = f"ZIP, {name}: ≥ 500 MB/s"
            lines.append(at_least(SENDING, bench.device, goal, rate, 500, unit="MB/s"))
    return lines


async def _sent(cards: int, size: int) -> dict[str, Any]:
    """One archive in a process of its own: memory is that of a process."""
    words = [sys.executable, str(DRIVE_ARCHIVE), str(cards), str(size)]
    done = await asyncio.to_thread(
        subprocess.run, words, capture_output=True, check=True, timeout=SENDING_TIMEOUT_S
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


ROWS = (
    Row(name=STAMPING, about="cards a second and core, beside the naive way", measure=stamping),
    Row(name=MAKING, about="a thousand cards from the button to done", measure=making),
    Row(name=SENDING, about="a thousand cards as one archive", measure=sending),
)
