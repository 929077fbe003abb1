"""What lies above a page's content: annotations, and the fields of the PDF's own form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pikepdf import Array, Dictionary, Name, Pdf, Stream

from makeready.cards.boxes import upright
from makeready.cards.geometry import Box
from makeready.cards.markers import marked
from makeready.cards.spelling import text_of
from makeready.cards.template import FormField

_DEPTH = 20
_HIDDEN, _PRINTED, _UNSEEN = 2, 4, 32
_NEVER_PAINTED = {"/Link", "/Popup"}
_PAINTING = re.compile(rb"(?:^|[\s\])>])(?:Tj|TJ|'|\"|Do|sh|EI|[fFsSbB]\*?)(?=\s|$)")
_SIZE = re.compile(r"([\d.]+)\s+Tf\b")
_KINDS = {"/Tx": "text", "/Sig": "signature"}
_RADIO, _PUSH, _COMBO = 0x8000, 0x10000, 0x20000
_NAME_CHARS = 200


def notes_of(page: Any) -> list[Any]:
    """Its annotations."""
    listed = page.get(Name.Annots)
    if not isinstance(listed, Array):
        return []
    return [note for note in listed if isinstance(note, Dictionary)]


def name_of(note: Any) -> str:
    """The full name of a form field, or what another annotation says."""
    if note.get(Name.Subtype) != Name.Widget:
        return text_of(note.get(Name.Contents))[:_NAME_CHARS]
    parts = [text_of(node[Name.T]) for node in _upwards(note) if Name.T in node]
    return ".".join(reversed(parts))[:_NAME_CHARS]


def painted_above(page: Any) -> tuple[tuple[str, Box], ...]:
    """Kind and box of each annotation that shows on paper or on a screen."""
    shown = []
    for note in notes_of(page):
        box = upright(note.get(Name.Rect))
        if box is not None and _is_painted(note) and not _marks(note):
            shown.append((text_of(note.get(Name.Subtype))[1:].lower(), box))
    return tuple(shown)


def form_fields(document: Pdf) -> tuple[FormField, ...]:
    """Fields of the form where they lie, and annotations that say what belongs there."""
    defaults = document.Root.get(Name.AcroForm, Dictionary())
    found = []
    for number, page in enumerate(document.pages, 1):
        for note in notes_of(page.obj):
            box, name = upright(note.get(Name.Rect)), name_of(note)
            is_widget = note.get(Name.Subtype) == Name.Widget
            if box is None or not (is_widget or _marks(note)) or not name:
                continue
            kind = _kind(note) if is_widget else text_of(note.get(Name.Subtype))[1:].lower()
            size = _size(_value(note, "/DA") or defaults.get(Name.DA))
            found.append(FormField(name=name, page=number, box=box, kind=kind, size=size))
    return tuple(found)


def _marks(note: Any) -> bool:
    return bool(marked(name_of(note), is_note=note.get(Name.Subtype) != Name.Widget))


def _upwards(node: Any) -> Iterator[Any]:
    """A field and those it belongs to."""
    for _ in range(_DEPTH):
        if not isinstance(node, Dictionary):
            break
        yield node
        node = node.get(Name.Parent)


def _value(note: Any, name: str) -> Any:
    return next((node[name] for node in _upwards(note) if name in node), None)


def _kind(widget: Any) -> str:
    """As MuPDF names it."""
    field, flags = text_of(_value(widget, "/FT")), _flags(_value(widget, "/Ff"))
    if field == "/Btn":
        return "button" if flags & _PUSH else "radiobutton" if flags & _RADIO else "checkbox"
    if field == "/Ch":
        return "combobox" if flags & _COMBO else "listbox"
    return _KINDS.get(field, "unknown")


def _flags(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _size(appearance: Any) -> float:
    found = _SIZE.search(text_of(appearance))
    try:
        return float(found.group(1)) if found else 0.0
    except ValueError:
        return 0.0


def _is_painted(note: Any) -> bool:
    flags = _flags(note.get(Name.F))
    if flags & _HIDDEN or (flags & _UNSEEN and not flags & _PRINTED):
        return False
    kind = text_of(note.get(Name.Subtype))
    return kind not in _NEVER_PAINTED and (kind != "/Widget" or _widget_paints(note))


def _widget_paints(widget: Any) -> bool:
    """False: an empty field without border and background, which is only a place."""
    looks = widget.get(Name.MK, Dictionary())
    if _value(widget, "/V") is not None or Name.BG in looks or Name.BC in looks:
        return True
    appearances = widget.get(Name.AP)
    normal = appearances.get(Name.N) if isinstance(appearances, Dictionary) else None
    states = [normal] if isinstance(normal, Stream) else list((normal or {}).values())
    return any(isinstance(each, Stream) and _PAINTING.search(each.read_bytes()) for each in states)


def take_out_markers(document: Pdf) -> None:
    """Fields and notes that only mark a place are not printed."""
    gone: set[tuple[int, int]] = set()
    for page in document.pages:
        notes = notes_of(page.obj)
        kept = [note for note in notes if not _marks(note)]
        if len(kept) < len(notes):
            gone |= {note.objgen for note in notes if note.is_indirect} - {
                note.objgen for note in kept
            }
            page.obj.Annots = Array(kept)
    form = document.Root.get(Name.AcroForm)
    if gone and isinstance(form, Dictionary):
        form.Fields = _without(form.get(Name.Fields), gone)
        if not len(form.Fields):
            del document.Root[Name.AcroForm]


def _without(fields: Any, gone: set[tuple[int, int]], depth: int = 0) -> Any:
    """A list of fields without those whose places are all gone."""
    kept = []
    for field in fields if isinstance(fields, Array) and depth < _DEPTH else ():
        if not isinstance(field, Dictionary) or field.objgen in gone:
            continue
        if Name.Kids in field:
            field.Kids = _without(field.Kids, gone, depth + 1)
            if not len(field.Kids):
                continue
        kept.append(field)
    return Array(kept)
