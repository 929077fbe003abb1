"""Makes cards for the tables of a restaurant through the HTTP service, and reads all of them.

What `makeready demo` and `makeready smoke posm` do once there is a service. The client is staff.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
from anyio import to_thread

from makeready.cards import sample
from makeready.cards.reading import READING_DPI, read_codes
from makeready.commands.packs import Say
from makeready.commands.service import Client, ServiceError
from makeready.commands.table import text_table

RESTAURANT = "Ёлки"
TABLES = 40
POLL_S = 0.05
TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One file that was downloaded."""

    path: Path
    byte_count: int
    pages: int
    codes: int
    """Read in it; each that should be there was found, and no other."""
    seconds: float
    """From the request to the last byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardsMade:
    """What came of a generation."""

    cards: int
    done_s: float
    """From the press of the button until it was done."""
    outputs: list[Output]


async def make_cards(client: Client, folder: Path, say: Say, count: int = TABLES) -> CardsMade:
    """Restaurant, template, generation, downloads; ServiceError when anything is amiss."""
    restaurant, links = await _restaurant(client, count)
    say(f"a restaurant of {count} tables")
    template = await _template(client, restaurant)
    began = time.perf_counter()
    generation = await _generated(client, restaurant, template)
    done_s = time.perf_counter() - began
    say(f"{count} cards stamped, read and checked in {done_s:.2f} s")
    await _unchanged(client, generation)
    base = f"/posm/generations/{generation}"
    one = links[0]
    outputs = [
        await _single(client, folder / "card.pdf", f"{base}/tables/{one.table}", one.url),
        await _archive(client, folder / "cards.zip", f"{base}/archive", links),
        await _file(client, folder / "print.pdf", f"{base}/print.pdf", links),
        await _file(client, folder / "sheet.pdf", f"{base}/sheet.pdf?duplex=long-edge", links),
    ]
    say(f"downloaded: one card, {count} as a ZIP, the print file, the sheets")
    return CardsMade(cards=count, done_s=done_s, outputs=outputs)


def cards_table(made: CardsMade) -> str:
    """The table of what was made."""
    rows = [
        [
            one.path.name,
            str(one.pages),
            str(one.codes),
            f"{one.byte_count / 1000:.0f} kB",
            f"{one.seconds * 1000:.0f} ms",
        ]
        for one in made.outputs
    ]
    head = ["file", "pages", "codes read", "size", "fetched in"]
    text = (
        f"{made.cards} cards in {made.done_s:.2f} s; each code read at {READING_DPI} dpi, "
        "and at half its size."
    )
    return f"{text_table(head, rows)}\n\n{text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """What the code of one table must say."""

    table: str
    url: str


async def _restaurant(client: Client, count: int) -> tuple[str, list[_Link]]:
    made = await client.post("/restaurants", {"name": RESTAURANT, "city": "Казань"})
    restaurant: str = made["restaurant"]["id"]
    tables = [{"uuid": str(uuid4()), **table} for table in sample.tables(count)]
    path = f"/restaurants/{restaurant}/tables"
    told = await client.put(path, {"tables": tables})
    if len(told["added"]) != count:
        raise ServiceError(f"{path} took {len(told['added'])} of {count} tables")
    found = await client.get(path)
    return restaurant, [_Link(table=row["uuid"], url=row["link"]) for row in found["tables"]]


async def _template(client: Client, restaurant: str) -> str:
    form = aiohttp.FormData()
    pdf = await to_thread.run_sync(sample.template)
    form.add_field("pdf", pdf, filename="yolki.pdf", content_type="application/pdf")
    meta = {
        "name": "Ёлки, зима",
        "visibility": "restaurant",
        "restaurant_ids": [restaurant],
        "settings": sample.settings(),
    }
    form.add_field("meta", json.dumps(meta), content_type="application/json")
    made = await client.call("POST", "/posm/templates", form=form)
    template: str = made["template"]["id"]
    return template


async def _generated(client: Client, restaurant: str, template: str) -> str:
    """The id of a generation that is done; ServiceError when it ends otherwise, or never."""
    asked = {"restaurant_id": restaurant, "template_id": template}
    key = {"Idempotency-Key": uuid4().hex}
    made = await client.call("POST", "/posm/generations", asked, headers=key)
    again = await client.call("POST", "/posm/generations", asked, headers=key)
    if again["id"] != made["id"]:
        raise ServiceError(f"the same press made {made['id']} and {again['id']}")
    path = f"/posm/generations/{made['id']}"
    until = time.monotonic() + TIMEOUT_S
    while True:
        found = await client.get(path)
        if found["status"] == "done":
            return str(made["id"])
        if found["status"] in {"error", "deleted"} or time.monotonic() > until:
            raise ServiceError(f"{path} is {found['status']}: {found['comment']}")
        await asyncio.sleep(POLL_S)


async def _unchanged(client: Client, generation: str) -> None:
    found = await client.get(f"/posm/generations/{generation}/check")
    if found["status"] != "ok":
        raise ServiceError(f"the tables of {generation} have changed: {found}")


async def _single(client: Client, path: Path, route: str, url: str) -> Output:
    data, seconds = await _fetched(client, route)
    pages = await to_thread.run_sync(_read, data, {url}, path.name)
    return await _kept(path, data, pages, 1, seconds)


async def _archive(client: Client, path: Path, route: str, links: Sequence[_Link]) -> Output:
    data, seconds = await _fetched(client, route)
    pages = await to_thread.run_sync(_read_archive, data, {link.url for link in links})
    return await _kept(path, data, pages, len(links), seconds)


async def _file(client: Client, path: Path, route: str, links: Sequence[_Link]) -> Output:
    data, seconds = await _fetched(client, route)
    pages = await to_thread.run_sync(_read, data, {link.url for link in links}, path.name)
    return await _kept(path, data, pages, len(links), seconds)


async def _fetched(client: Client, route: str) -> tuple[bytes, float]:
    began = time.perf_counter()
    data = await client.fetch(route)
    return data, time.perf_counter() - began


async def _kept(path: Path, data: bytes, pages: int, codes: int, seconds: float) -> Output:
    await to_thread.run_sync(path.write_bytes, data)
    return Output(path=path, byte_count=len(data), pages=pages, codes=codes, seconds=seconds)


def _read_archive(data: bytes, urls: set[str]) -> int:
    """Pages of all cards in the ZIP, every one of which was read."""
    pages, left = 0, set(urls)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if broken := archive.testzip():
            raise ServiceError(f"{broken} is broken")
        for name in archive.namelist():
            if name.endswith(".pdf"):
                found = read_codes(archive.read(name))
                pages += len(found)
                left -= {code for page in found for code in page}
                _half_as_big(archive.read(name), name)
    if left:
        raise ServiceError(f"the ZIP lacks the codes {sorted(left)}")
    return pages


def _read(data: bytes, urls: set[str], name: str) -> int:
    """Pages; ServiceError unless their codes are those, each once."""
    pages = read_codes(data)
    codes = [code for page in pages for code in page]
    if sorted(codes) != sorted(urls):
        raise ServiceError(f"{name} has {len(codes)} codes, {len(urls)} are expected")
    return len(pages)


def _half_as_big(data: bytes, name: str) -> None:
    if not any(read_codes(data, dpi=READING_DPI / 2)):
        raise ServiceError(f"the code of {name} cannot be read at half its size")
