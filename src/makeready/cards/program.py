"""What the helper processes of `makeready.stamping` run: one question, one answer.

The helper of a generation opens its press once and keeps it; every other question brings what it
needs. Whatever a library raises of a broken file is an answer too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from makeready.aside import packed, serve, unpacked
from makeready.cards import checks
from makeready.cards.assets import inspect_asset
from makeready.cards.inspection import inspect
from makeready.cards.messages import facts_json, facts_of, order_of, problems_json
from makeready.cards.press import STAMPER, Card, Press
from makeready.cards.preview import card_png, page_png
from makeready.cards.print_file import print_file
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.proof import inks, untouched
from makeready.cards.qr import TooLong
from makeready.cards.qr_files import qr_files
from makeready.cards.qr_look import Look
from makeready.cards.refusal import CardRefused
from makeready.cards.settings import Sheet, read
from makeready.cards.sheets import impose
from makeready.cards.verify import Verifier

Answer = tuple[Mapping[str, Any], Sequence[bytes]]


@dataclass(slots=True)
class _Kept:
    """What the helper of a generation keeps."""

    opened: tuple[Press, Verifier] | None = None


_kept = _Kept()


def main() -> None:
    """Answers until nobody asks any more."""
    serve(answer)


def answer(question: bytes) -> bytes:
    """The answer to one question."""
    head, files = unpacked(question)
    try:
        return packed(*_WORK[head.pop("do")](files, **head))
    except CardsRefused as error:
        return packed({"problems": problems_json(error.problems)})
    except CardRefused as error:
        return packed({"problems": problems_json([error.problem])})
    except Exception as error:  # noqa: BLE001 -- whatever a broken file makes a library raise
        return packed({"failure": f"{type(error).__name__}: {error}"})


def _version(_: Sequence[bytes]) -> Answer:
    return {"stamper": STAMPER}, []


def _inspect(files: Sequence[bytes]) -> Answer:
    return {"facts": facts_json(inspect(files[0]))}, []


def _problems(
    files: Sequence[bytes],
    *,
    facts: Mapping[str, Any],
    settings: Any,
    rows: Sequence[Any],
    assets: Sequence[str],
    is_sample: bool,
) -> Answer:
    given = dict(zip(assets, files, strict=True))
    found = checks.examine(facts_of(facts), settings, rows, given, is_sample=is_sample)
    return {"found": problems_json(found)}, []


def _inspect_asset(files: Sequence[bytes]) -> Answer:
    return {"facts": asdict(inspect_asset(files[0]))}, []


def _page_image(
    files: Sequence[bytes], *, page: int, dpi: float, grid: bool, settings: Any
) -> Answer:
    known = read(settings)[0] if settings else None
    return {}, [page_png(files[0], page=page, dpi=dpi, grid=grid, settings=known)]


def _preview_pdf(files: Sequence[bytes], *, index: int, **order: Any) -> Answer:
    press = Press.open(order_of(files, **order))
    card = press.stamp(index)
    return {"evidence": Verifier(press).check(card, cold=True)}, [press.whole(card)]


def _preview_png(
    files: Sequence[bytes], *, index: int, page: int, dpi: float, grid: bool, **order: Any
) -> Answer:
    press = Press.open(order_of(files, **order))
    return {}, [card_png(press, press.stamp(index), page=page, dpi=dpi, grid=grid)]


def _open(files: Sequence[bytes], *, facts: Mapping[str, Any] | None, **order: Any) -> Answer:
    press = Press.open(order_of(files, **order), None if facts is None else facts_of(facts))
    _kept.opened = press, Verifier(press)
    return {"stamper": STAMPER}, [press.prefix]


def _stamp(_: Sequence[bytes], *, first: int, last: int) -> Answer:
    press, verifier = _opened()
    told: list[Mapping[str, Any]] = []
    tails: list[bytes] = []
    for index in range(first, last):
        card = press.stamp(index)
        sums = {"byte_count": card.byte_count, "crc32": card.crc32, "sha256": card.sha256.hex()}
        told.append({"index": index, **sums, "evidence": verifier.check(card)})
        tails.append(card.tail)
    return {"cards": told}, tails


def _prove(_: Sequence[bytes], *, index: int) -> Answer:
    press, _verifier = _opened()
    card = press.stamp(index)
    return {"pages": untouched(press, card), "codes": inks(press, card)}, []


def _print_file(
    files: Sequence[bytes], *, indexes: Sequence[int], digests: Mapping[str, str], **order: Any
) -> Answer:
    press = Press.open(order_of(files, **order))
    return {}, [print_file(press, indexes, seen=_verified(press, digests))]


def _sheets(
    files: Sequence[bytes],
    *,
    sheet: Mapping[str, Any],
    indexes: Sequence[int],
    digests: Mapping[str, str],
    **order: Any,
) -> Answer:
    press = Press.open(order_of(files, **order))
    return {}, [impose(press, indexes, Sheet(**sheet), seen=_verified(press, digests))]


def _verified(press: Press, digests: Mapping[str, str]) -> Callable[[Card], None]:
    """Refuses a card that is neither the one that was verified before, nor found right now."""
    verifier = Verifier(press)

    def check(card: Card) -> None:
        if digests.get(str(card.index)) != card.sha256.hex():
            verifier.check(card)

    return check


def _qr_files(
    _: Sequence[bytes], *, links: Sequence[str], kind: str, look: Mapping[str, Any], level: str
) -> Answer:
    try:
        return {}, qr_files(links, kind, Look(**look), level=level)
    except TooLong as error:
        facts = {"bytes": len(error.payload.encode()), "version": 40, "ecc": error.level}
        raise CardsRefused([Problem(code="qr_capacity", facts=facts)]) from error


def _opened() -> tuple[Press, Verifier]:
    if _kept.opened is None:
        raise RuntimeError("no press was opened")
    return _kept.opened


_WORK: Mapping[str, Callable[..., Answer]] = {
    "version": _version,
    "inspect": _inspect,
    "inspect_asset": _inspect_asset,
    "page_image": _page_image,
    "preview_pdf": _preview_pdf,
    "preview_png": _preview_png,
    "problems": _problems,
    "open": _open,
    "stamp": _stamp,
    "prove": _prove,
    "print_file": _print_file,
    "sheets": _sheets,
    "qr_files": _qr_files,
}
