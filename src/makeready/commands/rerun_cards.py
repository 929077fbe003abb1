"""Makes the cards of a generation once more, into a folder: `makeready rerun` of one."""

from __future__ import annotations

import json
from pathlib import Path

from makeready import posm_making, stamping
from makeready.cards import wording
from makeready.cards.messages import problems_json
from makeready.posm_downloads import names_of
from makeready.posm_making import GenerationInput
from makeready.stamping import CardsRefused, Order
from makeready.storage import ObjectFacts, Storage

CHUNK = 40


async def rerun_cards(given: GenerationInput, storage: Storage, folder: Path) -> int:
    """Stamps and verifies all cards from the frozen order; 0 if each of them may count."""

    async def fetch(file: ObjectFacts) -> bytes:
        return await storage.of_bucket(file.bucket).get(file.key)

    order = await posm_making.order_of(given, fetch)
    (folder / "template.pdf").write_bytes(order.pdf)
    print(f"cards   {len(given.cards)}, template {folder / 'template.pdf'}")
    try:
        same = await _made(given, order, folder)
    except CardsRefused as error:
        for problem in error.problems:
            print(f"failed  {problem.code}: {wording.text(problem, 'en')[0]}")
        path = folder / "evidence.json"
        found = problems_json(error.problems)
        path.write_text(json.dumps(found, ensure_ascii=False, indent=2), "utf-8")
        print(f"seen    {path}")
        return 1
    print(f"pdf     {folder}: {len(given.cards)} cards, {same} as they were stored")
    return 0


async def _made(given: GenerationInput, order: Order, folder: Path) -> int:
    """Writes all cards; how many are what was stored, byte for byte."""
    same = 0
    async with stamping.press(order, stamping.facts_of(given.inspection)) as press:
        print(f"stamper {press.stamper}" + _pinned(given, press.stamper))
        names = list(names_of(given).values())
        for first in range(0, len(names), CHUNK):
            made = await press.stamp(first, min(first + CHUNK, len(names)))
            for card in made:
                (folder / names[card.index]).write_bytes(press.prefix + card.tail)
                same += card.sha256 == given.cards[card.index].sha256
    return same


def _pinned(given: GenerationInput, stamper: str) -> str:
    return "" if given.stamper in {None, stamper} else f"; it was made by {given.stamper}"
