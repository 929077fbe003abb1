"""Bookmarks made of headings say each heading once.

Chromium gathers a bookmark's words while it draws. A heading at the edge of a page, whose letters
may reach over it, is drawn on both pages, and its bookmark says everything twice; one that stands
on each page is said as often. Where nothing of it is to be seen, a text object without letters is
left. What was drawn where is told by the tags, which Chromium always writes with bookmarks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf, String

_BOOKMARKS = 10_000
_LONGEST = 300  # characters that are looked at, the heading as often as it is said
_TEXTS = 3  # of one heading: with markup in it there are several, and each is said again
_PARTS = 100
_OPERATORS = "BDC BMC EMC BT Tj TJ ' \""

_Place = tuple[tuple[int, int], int]  # the number of a page, and the mark of a text on it


def mend_bookmarks(document: Pdf) -> None:
    """Takes the words that were drawn again out of the bookmarks."""
    unseen: dict[tuple[int, int], set[int]] = {}
    for item in _bookmarks(document):
        title = str(item.get(Name.Title, ""))
        if len(title) > _LONGEST or not re.match(r"(.+)\1", title):
            continue
        texts = []
        for parts in _texts(item.get(Name.SE)):
            for page, _ in parts:
                if page.objgen not in unseen:
                    unseen[page.objgen] = _unseen(page)
            texts.append([(page.objgen, mark) for page, mark in parts])
        once = _said_once(title, texts, unseen)
        if once != title:
            item.Title = String(once)


def _said_once(
    title: str, texts: list[list[_Place]], unseen: dict[tuple[int, int], set[int]]
) -> str:
    """The title without what was drawn again; as it is, if that is not certain."""
    times = [len({page for page, _ in text}) for text in texts]
    if 0 < len(texts) <= _TEXTS and min(times) > 1:
        said = "".join(rf"(.+)(?:\{place}){{{count - 1}}}" for place, count in enumerate(times, 1))
        found = re.fullmatch(said, title)
        if found:
            return "".join(found.groups())
    if texts and texts[0][0][1] in unseen[texts[0][0][0]]:  # of several lines, the first one
        found = re.match(r"(.+)(?=\1)", title)
        if found:
            return title[found.end() :]
    return title


def _bookmarks(document: Pdf) -> Iterator[Any]:
    waiting: list[Any] = [document.Root.get(Name.Outlines)]
    seen: set[tuple[int, int]] = set()
    while waiting and len(seen) < _BOOKMARKS:
        item = waiting.pop()
        if not isinstance(item, Dictionary) or item.objgen in seen:
            continue
        seen.add(item.objgen)
        yield item
        waiting += [item[name] for name in (Name.Next, Name.First) if name in item]


def _texts(heading: Any) -> Iterator[list[tuple[Any, int]]]:
    """The texts of a heading; of each the pages it was drawn on, with its mark there."""
    waiting: list[Any] = [heading]
    for _ in range(_PARTS):
        element = waiting.pop() if waiting else None
        if not isinstance(element, Dictionary):
            return
        below: Any = element.get(Name.K)
        kids: list[Any] = list(below) if isinstance(below, Array) else [below]
        page: Any = element.get(Name.Pg)
        parts: list[tuple[Any, int]] = [(page, kid) for kid in kids if isinstance(kid, int)]
        parts += [(kid.get(Name.Pg, page), kid.MCID) for kid in kids if _is_part(kid)]
        if parts:
            yield parts
        waiting += [
            kid for kid in reversed(kids) if isinstance(kid, Dictionary) and not _is_part(kid)
        ]


def _is_part(kid: Any) -> bool:
    return isinstance(kid, Dictionary) and Name.MCID in kid


def _unseen(page: Any) -> set[int]:
    """The marks of a page that began a text and show no letter."""
    begun, shown, held = set[int](), set[int](), list[Any]()
    for step in pikepdf.parse_content_stream(page, _OPERATORS):
        match str(step.operator):
            case "BDC" | "BMC":
                facts: Any = step.operands[-1]
                mark: Any = facts.get(Name.MCID) if isinstance(facts, Dictionary) else None
                held.append(mark)
            case "EMC":
                del held[-1:]
            case "BT":
                begun.update(held)
            case _:
                shown.update(held)
    return begun - shown
