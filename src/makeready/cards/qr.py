"""QR symbols, and how they are encoded.

segno encodes; a batch of links that differ in a few digits goes through `affine`, which makes the
same symbols faster. Micro QR is never made: phones do not read it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import segno

from makeready.cards.affine import BatchEncoder

BATCH = 8
"""From so many payloads of one length on it pays to find out what they have in common."""

_NUMERIC = re.compile(r"[0-9]+")
_ALPHANUMERIC = re.compile(r"[0-9A-Z $%*+\-./:]+")


class TooLong(Exception):
    """The payload has no room in the version that was asked for, or in any."""

    def __init__(self, payload: str, level: str, version: int | None) -> None:
        super().__init__(f"{len(payload)} characters at level {level}, version {version}")
        self.payload = payload
        self.level = level
        self.version = version


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One symbol, without its quiet zone."""

    payload: str
    version: int
    level: str
    """L, M, Q or H, as it really is: a boost is counted in."""
    mask: int
    rows: tuple[int, ...]
    """One number a row of modules, the leftmost module its highest bit, 1 dark."""

    @property
    def size(self) -> int:
        """Modules a side."""
        return len(self.rows)


def encode(
    payload: str,
    *,
    level: str = "M",
    boost: bool = True,
    version: int | None = None,
    mask: int | None = None,
) -> Symbol:
    """One symbol; raises TooLong. A boost raises the level where the version has room for it."""
    code = _made(payload, level, boost=boost, version=version, mask=mask)
    return Symbol(
        payload=payload,
        version=int(code.version),
        level=str(code.error),
        mask=int(code.mask),
        rows=tuple(int(bytes(row).hex()[1::2], 2) for row in code.matrix),
    )


def least_version(payloads: Iterable[str], level: str = "M") -> int:
    """The smallest version that holds each of them at this level; raises TooLong."""
    longest: dict[tuple[str, int], str] = {(_mode(each), _length(each)): each for each in payloads}
    return max((_version(each, level) for each in longest.values()), default=1)


class Batch:
    """The symbols of one field on all cards: one version, so that they look alike."""

    def __init__(
        self,
        payloads: Iterable[str],
        *,
        level: str = "M",
        boost: bool = True,
        version: int | None = None,
        mask: int | None = None,
    ) -> None:
        texts = list(payloads)
        kinds = Counter((_mode(each), _length(each)) for each in texts)
        least = least_version(texts, level)
        if version is not None and least > version:
            raise TooLong(max(texts, key=_length), level, version)
        self.version = least if version is None else version
        self._level, self._boost, self._mask = level, boost, mask
        self._encoders: dict[tuple[str, int], BatchEncoder | None] = {
            kind: None for kind, count in kinds.items() if count >= BATCH
        }

    def symbol(self, payload: str) -> Symbol:
        """As `encode` with the version of the batch; raises TooLong."""
        kind = (_mode(payload), _length(payload))
        encoder = self._encoders.get(kind)
        if encoder is None:
            symbol = encode(
                payload,
                level=self._level,
                boost=self._boost,
                version=self.version,
                mask=self._mask,
            )
            if kind in self._encoders:
                self._encoders[kind] = BatchEncoder(
                    _bytes(payload), kind[0], symbol.level, self.version, self._mask
                )
            return symbol
        mask, rows = encoder.encode(_bytes(payload))
        return Symbol(
            payload=payload, version=self.version, level=encoder.level, mask=mask, rows=rows
        )


def _made(
    payload: str, level: str, *, boost: bool, version: int | None, mask: int | None
) -> segno.QRCode:
    """Bytes with a mode: by itself segno would take Cyrillic for Shift JIS, and phones not."""
    try:
        return segno.make_qr(
            _bytes(payload),
            error=level,
            version=version,
            mode=_mode(payload),
            mask=mask,
            boost_error=boost,
        )
    except segno.DataOverflowError:
        raise TooLong(payload, level, version) from None


def _version(payload: str, level: str) -> int:
    try:
        return _version_of(_mode(payload), _length(payload), level)
    except segno.DataOverflowError:
        raise TooLong(payload, level, None) from None


@lru_cache(maxsize=1024)
def _version_of(mode: str, length: int, level: str) -> int:
    code = segno.make_qr(b"0" * length, error=level, mode=mode, mask=0, boost_error=False)
    return int(code.version)


def _mode(payload: str) -> str:
    """The most compact one, as segno chooses for what is ASCII."""
    if _NUMERIC.fullmatch(payload):
        return "numeric"
    return "alphanumeric" if _ALPHANUMERIC.fullmatch(payload) else "byte"


def _length(payload: str) -> int:
    return len(payload) if payload.isascii() else len(_bytes(payload))


def _bytes(payload: str) -> bytes:
    return payload.encode("utf-8", "replace")
