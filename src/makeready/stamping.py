"""Templates are read, cards are stamped, looked at and pictured in helper processes.

PyMuPDF holds the interpreter lock and serves one thread. Single questions share two helpers, so
that a preview does not wait for a print file; a generation has one of its own, in which its
template stays compiled, and of a card only what follows the common prefix crosses the pipe. A
file that kills a helper is an error of that file: HelperLost; one that keeps it for too long,
StampingTimeout; whatever else a library makes of it, StampingFailed. Of a template that is looked
at for the first time all three are CardsRefused.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio.to_thread

from makeready.aside import Helper, HelperLost, packed, unpacked
from makeready.cards.asset_facts import AssetFacts
from makeready.cards.messages import facts_json, facts_of, order_parts, problems_of
from makeready.cards.order import Order
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.qr_look import MEDIA_TYPES as QR_KINDS
from makeready.cards.qr_look import Look
from makeready.cards.settings import Sheet
from makeready.cards.template import TemplateFacts
from makeready.cards.values import Row
from makeready.errors import MakereadyError

__all__ = [
    "QR_KINDS",
    "AssetFacts",
    "CardsRefused",
    "HelperLost",
    "Look",
    "OpenPress",
    "Order",
    "Problem",
    "Sheet",
    "StampedCard",
    "StampingFailed",
    "StampingTimeout",
    "TemplateFacts",
    "cool_down",
    "facts_json",
    "facts_of",
    "inspect",
    "inspect_asset",
    "page_image",
    "press",
    "preview_pdf",
    "preview_png",
    "print_file",
    "problems",
    "qr_files",
    "sheets",
    "version",
]

QUICK_TIMEOUT_S = 30.0
LONG_TIMEOUT_S = 110.0  # the helper ends by itself after 120
SCREEN_DPI = 100.0
_PROGRAM = "from makeready.cards.program import main; main()"
_spares: list[Helper] = []
"""A helper that has started and does nothing yet: at most one."""


class StampingFailed(MakereadyError):
    """A library failed on a template or a card in a way that nobody foresaw."""

    code = "stamping_failed"


class StampingTimeout(MakereadyError):
    """Templates or cards that nobody can wait for."""

    code = "stamping_timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class StampedCard:
    """One card that was stamped and verified: what follows the prefix, and what it then is."""

    index: int
    tail: bytes = field(repr=False)
    byte_count: int
    """Of the whole file, and so are the checksums."""
    crc32: int
    sha256: bytes
    evidence: Mapping[str, Any]
    """What the verifier saw."""


async def version() -> str:
    """Of what stamps: others may make other bytes. Leaves a helper warm for the next press."""
    helper = _spares.pop() if _spares else Helper(_PROGRAM)
    try:
        head, _ = await _answer(helper, {"do": "version"}, [], QUICK_TIMEOUT_S)
    except BaseException:
        await helper.close()
        raise
    if _spares:  # another was faster
        await helper.close()
    else:
        _spares.append(helper)
    return str(head["stamper"])


async def cool_down() -> None:
    """Ends the helper that is kept warm."""
    while _spares:
        await _spares.pop().close()


async def inspect(pdf: bytes) -> TemplateFacts:
    """What a designer's PDF is; raises CardsRefused with all that is wrong with it."""
    try:
        head, _ = await _ask_twice({"do": "inspect"}, [pdf])
    except (HelperLost, StampingFailed, StampingTimeout) as error:
        problem = Problem(code="template_damaged", facts={"case": error.code})
        raise CardsRefused([problem]) from error
    return facts_of(head["facts"])


async def inspect_asset(data: bytes) -> AssetFacts:
    """What an uploaded font or picture is; raises CardsRefused."""
    try:
        head, _ = await _ask_twice({"do": "inspect_asset"}, [data])
    except (HelperLost, StampingFailed, StampingTimeout) as error:
        raise CardsRefused([Problem(code="asset_unsupported")]) from error
    return AssetFacts(**head["facts"])


async def problems(
    facts: TemplateFacts,
    settings: Any,
    rows: Sequence[Row],
    assets: Mapping[str, bytes] | None = None,
    *,
    is_sample: bool = False,
) -> list[Problem]:
    """Errors and warnings of settings, as JSON, on a template with these tables, all at once."""
    given = assets or {}
    asked = {
        "do": "problems",
        "facts": facts_json(facts),
        "settings": settings,
        "rows": [dict(row) for row in rows],
        "assets": list(given),
        "is_sample": is_sample,
    }
    head, _ = await _ask(asked, list(given.values()))
    return problems_of(head["found"])


async def page_image(
    pdf: bytes,
    *,
    page: int = 1,
    dpi: float = SCREEN_DPI,
    grid: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> bytes:
    """PNG of one page of a template, or of a card; the grid is in millimetres.

    With `settings` it shows their fields, as far as they can be read.
    """
    asked = {"do": "page_image", "page": page, "dpi": dpi, "grid": grid, "settings": settings}
    _, files = await _ask(asked, [pdf])
    return files[0]


async def preview_pdf(order: Order, index: int = 0) -> tuple[bytes, Mapping[str, Any]]:
    """One card as it would be printed, and what the verifier saw; raises CardsRefused."""
    head, files = order_parts(order)
    head, made = await _ask({"do": "preview_pdf", "index": index, **head}, files)
    return made[0], head["evidence"]


async def preview_png(
    order: Order, index: int = 0, *, page: int = 1, dpi: float = SCREEN_DPI, grid: bool = False
) -> bytes:
    """PNG of one page of a card, also of one that the verifier would refuse."""
    head, files = order_parts(order)
    asked = {"do": "preview_png", "index": index, "page": page, "dpi": dpi, "grid": grid}
    _, made = await _ask({**asked, **head}, files)
    return made[0]


async def print_file(
    order: Order, indexes: Sequence[int], digests: Mapping[int, bytes] | None = None
) -> bytes:
    """One PDF of these cards, what they share in it once.

    `digests`, SHA-256 by index: a card of that digest is the one that was verified; any other is
    verified again.
    """
    return await _print({"do": "print_file"}, order, indexes, digests)


async def sheets(
    order: Order,
    indexes: Sequence[int],
    sheet: Sheet,
    digests: Mapping[int, bytes] | None = None,
) -> bytes:
    """One PDF of these cards imposed on sheets; `digests` as in `print_file`."""
    return await _print({"do": "sheets", "sheet": asdict(sheet)}, order, indexes, digests)


async def qr_files(
    links: Sequence[str], kind: str, look: Look | None = None, *, level: str = "M"
) -> list[bytes]:
    """Codes alone, as files of a kind of QR_KINDS, all of one version; raises CardsRefused."""
    asked = {"links": list(links), "kind": kind, "look": asdict(look or Look()), "level": level}
    _, made = await _ask({"do": "qr_files", **asked}, [])
    return made


class OpenPress:
    """One generation in a helper of its own. Made by `press`; one question at a time."""

    def __init__(self, order: Order, facts: TemplateFacts | None) -> None:
        head, self._files = order_parts(order)
        known = None if facts is None else facts_json(facts)
        self._head = {"do": "open", "facts": known, **head}
        self._helper = _spares.pop() if _spares else Helper(_PROGRAM)
        self._is_open = False
        self._digest = hashlib.sha256()
        self.prefix = b""
        """What all cards begin with."""
        self.stamper = ""
        """Version of what stamps: others may make other bytes."""

    async def open(self) -> None:
        """Compiles the template; raises CardsRefused with all that is wrong."""
        head, files = await _answer(self._helper, self._head, self._files, LONG_TIMEOUT_S)
        if self.prefix and files[0] != self.prefix:
            raise StampingFailed("a helper that was started again compiles another prefix")
        self.prefix, self.stamper = files[0], head["stamper"]
        self._digest = await anyio.to_thread.run_sync(hashlib.sha256, self.prefix)
        self._is_open = True

    async def stamp(self, first: int, last: int) -> list[StampedCard]:
        """Stamps and verifies the cards from `first` to before `last`.

        Raises CardsRefused, which names the table, HelperLost when the helper died of them twice,
        StampingTimeout.
        """
        head, tails = await self._ask({"do": "stamp", "first": first, "last": last})
        return [self._card(told, tail) for told, tail in zip(head["cards"], tails, strict=True)]

    async def prove(self, index: int) -> int:
        """Compares a card with its template pixel by pixel; how many pages are as they were.

        Raises CardsRefused if more than the fields has changed.
        """
        head, _ = await self._ask({"do": "prove", "index": index})
        return int(head["pages"])

    async def close(self) -> None:
        """Ends the helper."""
        await self._helper.close()

    def _card(self, told: Mapping[str, Any], tail: bytes) -> StampedCard:
        digest = self._digest.copy()
        digest.update(tail)
        if digest.hexdigest() != told["sha256"]:  # neither pipe nor memory is trusted with it
            raise StampingFailed(f"card {told['index']} is not what was verified")
        return StampedCard(**{**told, "sha256": digest.digest()}, tail=tail)

    async def _ask(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        try:
            return await self._ask_once(asked)
        except HelperLost:  # perhaps for the memory of somebody else
            return await self._ask_once(asked)

    async def _ask_once(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        if not self._is_open:
            await self.open()
        self._is_open = False  # without an answer the helper is gone, and its press with it
        answer = await _answer(self._helper, asked, [], LONG_TIMEOUT_S, may_start=False)
        self._is_open = True
        return answer


@asynccontextmanager
async def press(order: Order, facts: TemplateFacts | None = None) -> AsyncIterator[OpenPress]:
    """A generation's own helper with the template compiled; raises CardsRefused."""
    made = OpenPress(order, facts)
    try:
        await made.open()
        yield made
    finally:
        await made.close()


async def _print(
    asked: Mapping[str, Any],
    order: Order,
    indexes: Sequence[int],
    digests: Mapping[int, bytes] | None,
) -> bytes:
    head, files = order_parts(order)
    known = {str(index): digest.hex() for index, digest in (digests or {}).items()}
    _, made = await _ask(
        {**asked, "indexes": list(indexes), "digests": known, **head}, files, is_long=True
    )
    return made[0]


async def _ask_twice(
    head: Mapping[str, Any], files: Sequence[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    """As `_ask`: a helper may also have been killed for the memory of somebody else's file."""
    try:
        return await _ask(head, files)
    except HelperLost:
        return await _ask(head, files)


async def _ask(
    head: Mapping[str, Any], files: Sequence[bytes], *, is_long: bool = False
) -> tuple[dict[str, Any], list[bytes]]:
    timeout_s = LONG_TIMEOUT_S if is_long else QUICK_TIMEOUT_S
    return await _answer(_helper(is_long), head, files, timeout_s)


async def _answer(
    helper: Helper,
    head: Mapping[str, Any],
    files: Sequence[bytes],
    timeout_s: float,
    *,
    may_start: bool = True,
) -> tuple[dict[str, Any], list[bytes]]:
    try:
        answer = await helper.ask(packed(head, files), timeout_s=timeout_s, may_start=may_start)
    except TimeoutError as error:
        raise StampingTimeout(f"{head['do']} took longer than {timeout_s:g} s") from error
    head, files = unpacked(answer)
    if "problems" in head:
        raise CardsRefused(problems_of(head["problems"]))
    if "failure" in head:
        raise StampingFailed(head["failure"])
    return head, files


@functools.cache
def _helper(is_long: bool) -> Helper:  # noqa: ARG001 -- one for each kind of question
    return Helper(_PROGRAM)
