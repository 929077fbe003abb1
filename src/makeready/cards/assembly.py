"""Many cards in one file: what the template brings is in it once, of each card only its forms.

Nothing is drawn here: the forms are those of the single cards, byte for byte, and the template is
the compiled one. What stands painted above its pages becomes part of them, since a note belongs
to one page only.
"""

from __future__ import annotations

import copy
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf

from makeready.cards.boxes import inherited
from makeready.cards.press import Card, Press

Seen: TypeAlias = Callable[[Card], None]
"""Called with each card that goes in, before it does; may refuse it by raising CardsRefused."""

_LEVEL = 6
_INHERITED = ("/Resources", "/MediaBox", "/CropBox", "/Rotate")
_OF_PAGES = frozenset({
    "/ArtBox", "/BleedBox", "/Contents", "/CropBox", "/Group", "/MediaBox", "/Resources",
    "/Rotate", "/TrimBox", "/Type", "/UserUnit",
})  # fmt: skip
_OF_FILES = frozenset({"/Extensions", "/Lang", "/Metadata", "/OCProperties", "/OutputIntents"})


def stamped(press: Press, indexes: Sequence[int], seen: Seen | None) -> Iterator[Card]:
    """The cards as they go in, one after the other."""
    for index in indexes:
        card = press.stamp(index)
        if seen is not None:
            seen(card)
        yield card


class Assembly:
    """One file in the making; made of a generation's first card."""

    def __init__(self, press: Press, first: Card) -> None:
        self.document: Pdf = pikepdf.open(io.BytesIO(press.whole(first)))
        if any(Name.Annots in page.obj for page in self.document.pages):
            self.document.flatten_annotations("print")
        self._blanks = press.blanks
        self._tree = self.document.make_indirect(Dictionary(Type=Name.Pages))
        self.pages: dict[int, Any] = {}
        """The template's, by number, with all that they inherit; their blanks hold nothing."""
        self._names: dict[int, str] = {}
        self._empty: dict[int, Any] = {}
        for number, page in enumerate(self.document.pages, 1):
            self._take(number, page.obj)

    def form(self, page: int, operators: bytes) -> Any:
        """What a card draws on a page."""
        form = self.document.make_stream(zlib.compress(operators, _LEVEL))
        for key, value in self._empty[page].items():
            if key != "/Length":
                form[key] = value
        return form

    def page(self, number: int, form: Any | None) -> Any:
        """The template's page with a card's form in its blank."""
        page = copy.copy(self.pages[number])
        if form is not None:
            resources = copy.copy(page.Resources)
            forms = copy.copy(resources.XObject)
            forms[self._names[number]] = form
            resources.XObject = forms
            page.Resources = resources
        return page

    def finished(self, pages: Sequence[Any]) -> bytes:
        """The file of these pages."""
        document = self.document
        kids = []
        for page in pages:
            page.Parent = self._tree
            kids.append(document.make_indirect(page))
        self._tree.Kids, self._tree.Count = Array(kids), len(kids)
        kept = {key: value for key, value in document.Root.items() if key in _OF_FILES}
        root = Dictionary({"/Type": Name.Catalog, "/Pages": self._tree, **kept})
        document.trailer.Root = document.make_indirect(root)
        # Packed objects came with PDF 1.5: a template for older printers stays what it is.
        mode = pikepdf.ObjectStreamMode
        out = io.BytesIO()
        document.save(
            out,
            fix_metadata_version=False,
            object_stream_mode=mode.disable if document.pdf_version < "1.5" else mode.generate,
            stream_decode_level=pikepdf.StreamDecodeLevel.none,
            deterministic_id=True,
        )
        return out.getvalue()

    def close(self) -> None:
        """Lets the file go."""
        self.document.close()

    def _take(self, number: int, page: Any) -> None:
        taken = Dictionary({key: value for key, value in page.items() if key in _OF_PAGES})
        for name in _INHERITED:
            value = inherited(page, name)
            if value is not None:
                taken[name] = value
        # Each page of each card refers to these: one object of the file, not a copy of it.
        taken.Contents = self._shared(taken.get(Name.Contents, Array()))
        resources = Dictionary()
        for key, value in taken.get(Name.Resources, Dictionary()).items():
            resources[key] = copy.copy(value) if key == "/XObject" else self._shared(value)
        taken.Resources = resources
        if number in self._blanks:
            self._clear_blank(number, resources)
        self.pages[number] = taken

    def _clear_blank(self, number: int, resources: Any) -> None:
        for name, form in resources.XObject.items():
            if form.objgen == (self._blanks[number], 0):
                self._names[number] = name
                self._empty[number] = form.stream_dict
                resources.XObject[name] = self.form(number, b"")

    def _shared(self, value: Any) -> Any:
        return value if value.is_indirect else self.document.make_indirect(value)
