"""Cards with one thing wrong with them, made as if a press had made them so."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from hashlib import sha256

from makeready.cards.press import Card, Press

Change = Callable[[bytes], bytes]


def remade(press: Press, card: Card, change: Change, *, pages: tuple[int, ...] = ()) -> Card:
    """The card with the operators of its pages changed; what must be on it stays."""
    drawn = {
        page: change(operators) if page in (pages or press.pages) else operators
        for page, operators in card.drawn.operators.items()
    }
    stamped = press._stamper.stamp(drawn)
    return dataclasses.replace(
        card,
        tail=stamped.tail,
        byte_count=stamped.byte_count,
        crc32=stamped.crc32,
        sha256=stamped.sha256,
    )


def with_tail(press: Press, card: Card, tail: bytes) -> Card:
    """The card with other bytes at its end, its checksums right for them."""
    whole = press.prefix + tail
    return dataclasses.replace(
        card,
        tail=tail,
        byte_count=len(whole),
        crc32=zlib.crc32(whole),
        sha256=sha256(whole).digest(),
    )


def instead(old: bytes, new: bytes) -> Change:
    """What is found once is replaced."""

    def change(operators: bytes) -> bytes:
        assert operators.count(old) >= 1, old
        return operators.replace(old, new, 1)

    return change


def below(added: bytes) -> Change:
    """Something is drawn first."""
    return lambda operators: b"q " + added + b" Q " + operators


def above(added: bytes) -> Change:
    """Something is drawn last."""
    return lambda operators: operators + b" q " + added + b" Q"


def within(matrix: str) -> Change:
    """All of it is moved."""
    return lambda operators: b"q %s cm %s Q" % (matrix.encode(), operators)
