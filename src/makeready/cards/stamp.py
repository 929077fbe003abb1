"""A card: the compiled template, its forms, and the table of objects. No library looks at it.

The template's part is neither copied nor hashed again: a card's checksums go on from the state
after the prefix. Equal operators make equal bytes; the file's identifier is made of them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from makeready.cards.compile import Compiled

_LEVEL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """What follows the prefix, and what the whole file then is."""

    tail: bytes
    byte_count: int
    crc32: int
    sha256: bytes


class Stamper:
    """Appends cards to one compiled template."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._length = len(compiled.prefix)
        self._crc32 = zlib.crc32(compiled.prefix)
        self._sha256 = hashlib.sha256(compiled.prefix)
        self._seed = hashlib.sha256(self._sha256.digest())

    def stamp(self, operators: Mapping[int, bytes]) -> Stamped:
        """One card; `operators` by page number."""
        packed: dict[bytes, bytes] = {}  # pages that show the same are deflated once
        pieces: list[bytes] = []
        table = [self._compiled.entries[0]]
        place = self._length
        for blank, entries in zip(self._compiled.blanks, self._compiled.entries[1:], strict=True):
            drawn = operators.get(blank.page, b"")
            data = packed.get(drawn)
            if data is None:
                data = packed[drawn] = zlib.compress(drawn, _LEVEL)
            piece = b"%s%d>>\nstream\n%s\nendstream\nendobj\n" % (blank.head, len(data), data)
            pieces.append(piece)
            table.append(b"%010d 00000 n \n%s" % (place, entries))
            place += len(piece)
        forms = b"".join(pieces)
        digest = self._seed.copy()
        digest.update(forms)
        name = digest.hexdigest()[:32].encode()
        tail = b"%s%s%s[<%s><%s>]>>\nstartxref\n%d\n%%%%EOF\n" % (
            forms,
            b"".join(table),
            self._compiled.trailer,
            name,
            name,
            place,
        )
        whole = self._sha256.copy()
        whole.update(tail)
        return Stamped(
            tail=tail,
            byte_count=self._length + len(tail),
            crc32=zlib.crc32(tail, self._crc32),
            sha256=whole.digest(),
        )
