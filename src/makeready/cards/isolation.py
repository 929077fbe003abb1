"""A page's own content is shut in, so that nothing it leaves behind reaches what comes after it.

Art may leave a saved state, a scale, overprint, a text object, a hidden layer or a path open. A
stamp drawn into that is turned, invisible or printed as nothing, and yet looks right on a screen.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Operator, Pdf, Stream

from makeready.cards.boxes import inherited

_COUNTED = "q Q BT ET BMC BDC EMC"
_SAVE, _RESTORE = Operator("q"), Operator("Q")
_PATHS = {b"m", b"l", b"c", b"v", b"y", b"h", b"re", b"W", b"W*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What the content of a page leaves open."""

    states: int
    marks: int
    has_text: bool
    has_path: bool
    underflows: bool
    """It restores a state that it never saved, which viewers overlook."""

    @property
    def closing(self) -> bytes:
        """The operators that close it."""
        ends = [b"n"] * self.has_path + [b"ET"] * self.has_text
        return b" ".join([*ends, *[b"EMC"] * self.marks, *[b"Q"] * self.states])


def leaks_of(page: Any) -> Leaks:
    """Counts; raises pikepdf.PdfError where the content cannot be read."""
    states, marks, texts, underflows = 0, 0, 0, False
    for instruction in pikepdf.parse_content_stream(page, _COUNTED):
        word = str(instruction.operator)
        if word == "q":
            states += 1
        elif word == "Q":
            underflows |= not states
            states = max(states - 1, 0)
        elif word in {"BT", "ET"}:
            texts = word == "BT"
        elif word == "EMC":
            marks = max(marks - 1, 0)
        else:
            marks += 1
    last = contents_of(page)[-64:].split()[-1:]
    return Leaks(
        states=states,
        marks=marks,
        has_text=bool(texts),
        has_path=bool(last) and last[0] in _PATHS,
        underflows=underflows,
    )


def contents_of(page: Any) -> bytes:
    """The operators of a page."""
    return b"\n".join(stream.read_bytes() for stream in _streams(page))


def isolate(document: Pdf, page: Any, blank: Any) -> None:
    """Shuts the page's content in and draws `blank` after it.

    Its resources may be shared with other pages: it gets a copy in which only the list of forms
    is another.
    """
    resources = _copy(inherited(page, "/Resources"))
    forms = _copy(resources.get(Name.XObject))
    blank_name = _free_name(forms, "Card")
    leaks = leaks_of(page)
    art = [document.make_stream(_balanced(page))] if leaks.underflows else _streams(page)
    opening, closing = b"q\n", b"\n%s Q\n%s Do\n" % (leaks.closing, blank_name.encode())
    forms[blank_name] = blank
    resources.XObject = forms
    page.Resources = resources
    page.Contents = Array([document.make_stream(opening), *art, document.make_stream(closing)])


def _streams(page: Any) -> list[Any]:
    contents = page.get(Name.Contents)
    listed = list(contents) if isinstance(contents, Array) else [contents]
    return [each for each in listed if isinstance(each, Stream)]


def _copy(value: Any) -> Any:
    """With the same members; names that are not UTF-8 would not survive a dict of Python."""
    return copy.copy(value) if isinstance(value, Dictionary) else Dictionary()


def _free_name(taken: Any, wanted: str) -> str:
    number = 0
    while (name := f"/{wanted}{number}") in taken:
        number += 1
    return name


def _balanced(page: Any) -> bytes:
    """The content without what restores too often: shut in, that would no more be overlooked."""
    states, kept = 0, []
    for instruction in pikepdf.parse_content_stream(page):
        is_restore = instruction.operator == _RESTORE
        if is_restore and not states:
            continue
        states += (instruction.operator == _SAVE) - is_restore
        kept.append(instruction)
    return pikepdf.unparse_content_stream(kept)
