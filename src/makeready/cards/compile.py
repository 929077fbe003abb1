"""A template is compiled once per generation, so that a card is only appended to it.

The file is written anew with a plain table of objects. On each page that is stamped, the art is
shut in, and a form is drawn after it that is not there yet: its blank. All bytes before the blanks
are the same for every card; a card brings the forms, and the table's few lines that tell where.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pikepdf
from pikepdf import Dictionary, Name, Pdf

from makeready.cards.active import strip
from makeready.cards.drawing import PdfPart, Resource
from makeready.cards.geometry import Box, Frame
from makeready.cards.isolation import isolate
from makeready.cards.notes import take_out_markers
from makeready.cards.problems import CardsRefused, Problem

_ENTRY_BYTES = 20
_LONGEST_BLANK = 200
_ROOM_MM = 1.0  # around what may be printed, so that rounding cuts nothing off
_REFERENCE = re.compile(r"\{(\d+)\}")
_KEPT = {"/Root", "/Info"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """Where one page's form belongs."""

    page: int
    number: int
    """Of the object."""
    head: bytes
    """From its number to `/Length `."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A template without its blanks' forms."""

    prefix: bytes
    blanks: tuple[Blank, ...]
    """In the order of their numbers."""
    entries: tuple[bytes, ...]
    """The table of objects, cut where the entry of each blank belongs."""
    trailer: bytes
    """Up to the file's identifier."""


def compiled(
    pdf: bytes, frames: Mapping[int, Frame], pages: Sequence[int], resources: Sequence[Resource]
) -> Compiled:
    """The template with blanks on these pages; raises CardsRefused where its content is broken."""
    mark = f"/Blank{hashlib.sha256(pdf).hexdigest()[:16]}"  # nothing in the file can be named so
    try:
        with pikepdf.open(io.BytesIO(pdf)) as document:
            strip(document)
            take_out_markers(document)
            _drop_private_data(document)
            for number in pages:
                blank = document.make_stream(b"", Dictionary({mark: number}))
                isolate(document, document.pages[number - 1].obj, blank)
            written = _Written(_saved(document), mark)
    except pikepdf.PdfError as error:
        problem = Problem(code="template_damaged", facts={"reason": str(error)[:200]})
        raise CardsRefused([problem]) from error
    return _cut(written, frames, resources)


def _drop_private_data(document: Pdf) -> None:
    """A design program that finds its own data opens that, not the page: a card without a code.

    The small picture that viewers show of a page has none either.
    """
    for holder in [document.Root, *(page.obj for page in document.pages)]:
        for name in (Name.PieceInfo, Name.Thumb):
            if name in holder:
                del holder[name]


def _saved(document: Pdf) -> bytes:
    for name in set(document.trailer.keys()) - _KEPT:
        del document.trailer[name]
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # widgets that no form lists stay as they are
        document.save(
            out,
            fix_metadata_version=False,
            object_stream_mode=pikepdf.ObjectStreamMode.disable,
            stream_decode_level=pikepdf.StreamDecodeLevel.none,
            compress_streams=False,
            encryption=False,
            deterministic_id=True,
        )
    return out.getvalue()


class _Written:
    """A file that qpdf wrote, taken apart: its blanks, and all the rest."""

    def __init__(self, written: bytes, mark: str) -> None:
        start = int(written[written.rindex(b"startxref") :].split()[1])
        table, trailer = written[start:].split(b"trailer", 1)
        first = table.index(b"\n", len(b"xref\n")) + 1
        self.size = (len(table) - first) // _ENTRY_BYTES
        self.info = re.findall(rb"/(?:Root|Info) \d+ 0 R", trailer)
        self.body = bytearray()
        self.places: dict[int, int] = {}
        self.blanks: dict[int, int] = {}
        """The page of each blank's object."""
        places = [int(table[at : at + 10]) for at in range(first, len(table) - 1, _ENTRY_BYTES)]
        in_use = sorted((place, number) for number, place in enumerate(places) if place)
        self.body += written[: in_use[0][0]]
        for (place, number), (end, _) in zip(in_use, [*in_use[1:], (start, 0)], strict=True):
            self._take(number, written[place:end], mark.encode())

    def _take(self, number: int, piece: bytes, mark: bytes) -> None:
        marked = re.search(mark + rb" (\d+)", piece) if len(piece) < _LONGEST_BLANK else None
        if marked:
            self.blanks[number] = int(marked[1])
        else:
            self.places[number] = len(self.body)
            self.body += piece

    def append(self, piece: bytes) -> int:
        """Another object; its number, which the piece does not have yet."""
        number = self.size
        self.size += 1
        self.places[number] = len(self.body)
        self.body += b"%d 0 obj\n%s\nendobj\n" % (number, piece)
        return number


def _cut(
    written: _Written, frames: Mapping[int, Frame], resources: Sequence[Resource]
) -> Compiled:
    """Lays the resources at the end, and the table around the blanks."""
    listed: dict[str, list[bytes]] = {}
    for resource in resources:
        first = _append(written, resource.parts)
        listed.setdefault(resource.category, []).append(
            b"/%s %d 0 R" % (resource.name.encode(), first)
        )
    names = b"".join(
        b"/%s<<%s>>" % (category.encode(), b"".join(entries))
        for category, entries in listed.items()
    )
    shared = written.append(b"<<%s>>" % names)
    blanks = [
        Blank(page=page, number=number, head=_head(number, frames[page], shared))
        for number, page in sorted(written.blanks.items())
    ]
    entries = [b"xref\n0 %d\n0000000000 65535 f \n" % written.size]
    for number in range(1, written.size):
        if number in written.blanks:
            entries.append(b"")
        elif number in written.places:
            entries[-1] += b"%010d 00000 n \n" % written.places[number]
        else:
            entries[-1] += b"0000000000 00000 f \n"
    return Compiled(
        prefix=bytes(written.body),
        blanks=tuple(blanks),
        entries=tuple(entries),
        trailer=b"trailer\n<</Size %d%s/ID" % (written.size, b"".join(written.info)),
    )


def _append(written: _Written, parts: Sequence[PdfPart]) -> int:
    """Lays the parts of a resource at the end; the number of the first."""
    first = written.size
    for part in parts:
        head = _REFERENCE.sub(lambda found: f"{first + int(found[1])} 0 R", part.head).encode()
        if part.data is not None:
            opened = head.rstrip().removesuffix(b">>")
            head = b"%s/Length %d>>\nstream\n%s\nendstream" % (opened, len(part.data), part.data)
        written.append(head)
    return first


def _head(number: int, frame: Frame, resources: int) -> bytes:
    """What stands before the length of a blank's form."""
    matrix = " ".join(_real(value) for value in frame.matrix)
    box = " ".join(_real(value) for value in _page_box(frame))
    return (
        f"{number} 0 obj\n<</Type/XObject/Subtype/Form/BBox[{box}]/Matrix[{matrix}]"
        f"/Resources {resources} 0 R/Filter/FlateDecode/Length "
    ).encode()


def _page_box(frame: Frame) -> Box:
    boxes = [frame.media, frame.bleed, (0.0, 0.0, frame.width, frame.height)]
    return (
        min(box[0] for box in boxes) - _ROOM_MM,
        min(box[1] for box in boxes) - _ROOM_MM,
        max(box[2] for box in boxes) + _ROOM_MM,
        max(box[3] for box in boxes) + _ROOM_MM,
    )


def _real(value: float) -> str:
    """As PDF writes numbers, which knows no exponents."""
    text = f"{value:.8f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
