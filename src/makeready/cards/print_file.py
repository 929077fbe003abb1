"""All cards of a generation in one PDF, for a print shop: page by page, what they share once."""

from __future__ import annotations

from collections.abc import Sequence

from makeready.cards.assembly import Assembly, Seen, stamped
from makeready.cards.press import Press


def print_file(press: Press, indexes: Sequence[int], *, seen: Seen | None = None) -> bytes:
    """One PDF of these cards, each with all its pages, in this order; boxes as in the template."""
    if not indexes:
        raise ValueError("no card to print")
    assembly = Assembly(press, press.stamp(indexes[0]))
    try:
        pages = []
        for card in stamped(press, indexes, seen):
            for number in assembly.pages:
                operators = card.drawn.operators.get(number)
                form = None if operators is None else assembly.form(number, operators)
                pages.append(assembly.page(number, form))
        return assembly.finished(pages)
    finally:
        assembly.close()
