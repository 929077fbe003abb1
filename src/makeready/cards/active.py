"""What a PDF does when it is opened or touched. A card does nothing: it is taken out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pikepdf import Array, Dictionary, Name, Pdf

from makeready.cards.notes import notes_of
from makeready.cards.spelling import text_of

_FILES = "embedded_files"
_KINDS = {
    "/JavaScript": "javascript",
    "/Launch": "launch",
    "/SubmitForm": "submit_form",
    "/ImportData": "import_data",
    "/Rendition": "media",
    "/Movie": "media",
    "/Sound": "media",
    "/GoToE": _FILES,
    "/RichMediaExecute": "media",
    "/SetOCGState": "layers",
    "/Hide": "hide",
}
_MEDIA = {"/RichMedia", "/Movie", "/Sound", "/Screen", "/3D"}
_HARMLESS = {"/GoTo", "/GoToR", "/URI", "/Named", "/Thread"}
_DEPTH = 20


def is_signed(document: Pdf) -> bool:
    """It has a field for a signature, or is certified: a change would break that."""
    if Name.Perms in document.Root:
        return True
    return any(field.get(Name.FT) == Name.Sig for field in _fields(document))


def dynamic_form(document: Pdf) -> bool:
    """Its pages are drawn by a form of its own (XFA); what lies in them is only a notice."""
    return Name.XFA in _form(document) and bool(document.Root.get(Name.NeedsRendering, False))


def strip(document: Pdf) -> tuple[str, ...]:
    """Takes it out and says what kinds there were."""
    found = _strip_catalog(document.Root)
    form = _form(document)
    if Name.XFA in form:
        del form[Name.XFA]
        found.add("xfa")
    for field in _fields(document):
        found |= _cut_actions(field, Name.A)
    for page in document.pages:
        found |= _strip_page(page.obj)
    for thing in document.objects:
        if isinstance(thing, Dictionary) and Name.Title in thing:  # a bookmark
            found |= _cut_actions(thing, Name.A)
    return tuple(sorted(found))


def _strip_catalog(root: Any) -> set[str]:
    found = _cut_actions(root, Name.OpenAction)
    names = root.get(Name.Names)
    if isinstance(names, Dictionary):
        for name, kind in ((Name.JavaScript, "javascript"), (Name.EmbeddedFiles, _FILES)):
            if name in names:
                del names[name]
                found.add(kind)
    for name in (Name.AF, Name.Collection):
        if name in root:
            del root[name]
            found.add(_FILES)
    return found


def _strip_page(page: Any) -> set[str]:
    found = _cut_actions(page, None)
    notes = notes_of(page)
    kept = []
    for note in notes:
        if text_of(note.get(Name.Subtype)) in _MEDIA:
            found.add("media")
        elif note.get(Name.Subtype) == Name.FileAttachment:
            found.add(_FILES)
        else:
            kept.append(note)
            found |= _cut_actions(note, Name.A)
    if len(kept) < len(notes):
        page.Annots = Array(kept)
    return found


def _cut_actions(holder: Any, name: Name | None) -> set[str]:
    """Takes out its own action unless that only goes somewhere, and all that events start."""
    found: set[str] = set()
    if name is not None and isinstance(holder.get(name), Dictionary):
        kinds = set(_action_kinds(holder[name]))
        if kinds:
            del holder[name]
            found |= kinds
    if Name.AA in holder:
        events = holder[Name.AA]
        del holder[Name.AA]
        for event in events.values() if isinstance(events, Dictionary) else ():
            found |= set(_action_kinds(event))
    return found


def _action_kinds(action: Any, depth: int = 0) -> Iterator[str]:
    if not isinstance(action, Dictionary) or depth > _DEPTH:
        return
    kind = text_of(action.get(Name.S))
    if kind and kind not in _HARMLESS:
        yield _KINDS.get(kind, kind[1:].lower())
    following = action.get(Name.Next)
    for each in following if isinstance(following, Array) else [following]:
        yield from _action_kinds(each, depth + 1)


def _form(document: Pdf) -> Any:
    form = document.Root.get(Name.AcroForm)
    return form if isinstance(form, Dictionary) else Dictionary()


def _fields(document: Pdf) -> Iterator[Any]:
    """All fields of the form, and widgets that no form lists."""
    waiting: list[Any] = list(_listed(_form(document).get(Name.Fields)))
    for page in document.pages:
        waiting += [note for note in notes_of(page.obj) if note.get(Name.Subtype) == Name.Widget]
    seen: set[tuple[int, int]] = set()
    while waiting:
        field = waiting.pop()
        if not isinstance(field, Dictionary) or (field.is_indirect and field.objgen in seen):
            continue
        seen.add(field.objgen)
        yield field
        waiting += _listed(field.get(Name.Kids))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Array) else []
