"""File names that every system takes: of cards in an archive, in a folder, in a download."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_BYTES = 150
"""Of UTF-8, extension and number included: paths of archives stay below what Windows opens."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Not printed, or, like the marks that turn the reading direction, made to deceive."""
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{name}{number}" for name in ("com", "lpt") for number in "0123456789¹²³"}
)
_NAMELESS = "_"


def file_name(name: str) -> str:
    """The name without what some system forbids; never empty, never with a folder in it."""
    kept = (" " if each.isspace() else each for each in name if _is_kept(each))
    text = unicodedata.normalize("NFC", "".join(kept))
    stem, extension = _split(" ".join(_FORBIDDEN.sub("", text).split()).strip(". "))
    if stem.partition(".")[0].rstrip().casefold() in _DEVICES:
        stem = _NAMELESS + stem
    return _cut(stem or _NAMELESS, extension)


def file_names(names: Iterable[str]) -> list[str]:
    """The names in their order, each once: the second of two equal ones gets ` (2)`.

    Names that differ only in upper and lower case are equal: so they are to Windows and macOS.
    """
    wanted = [file_name(name) for name in names]
    firsts = {name.casefold() for name in wanted}
    taken: set[str] = set()
    counts: dict[str, int] = {}
    found = []
    for name in wanted:
        chosen, key = name, name.casefold()
        while chosen.casefold() in taken or (chosen != name and chosen.casefold() in firsts):
            counts[key] = counts.get(key, 1) + 1
            chosen = _cut(*_split(name), f" ({counts[key]})")
        taken.add(chosen.casefold())
        found.append(chosen)
    return found


def _is_kept(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) not in _CATEGORIES


def _split(name: str) -> tuple[str, str]:
    """Stem and extension; what follows a dot is one when it is short and has no spaces."""
    stem, dot, extension = name.rpartition(".")
    if not stem or not re.fullmatch(r"[A-Za-z0-9]{1,8}", extension):
        return name, ""
    return stem.rstrip(". "), dot + extension


def _cut(stem: str, extension: str, number: str = "") -> str:
    room = MAX_BYTES - len((number + extension).encode())
    short = stem.encode()[:room].decode(errors="ignore").rstrip(". ")
    return f"{short or _NAMELESS}{number}{extension}"
