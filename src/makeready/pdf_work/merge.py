"""Several PDFs become one: a bookmark a document, links and tags kept.

Equal parts give equal bytes. Blocking; processes that have an event loop ask `makeready.pdf`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, NameTree, NumberTree, Pdf, String

from makeready.pdf_work.archive import claimed_level, prepare
from makeready.pdf_work.facts import invalid
from makeready.pdf_work.finish import saved, write_packet

FIXED_DATE = "D:20000101000000+00'00'"
_BOOKMARKS = 10_000  # of one document; one with more gets only its own
_DIGEST_DEPTH = 8


def merge(parts: Sequence[tuple[str, bytes]], *, title: str = "") -> bytes:
    """One PDF of (title, PDF) in this order; raises InvalidPdf that names a part by its title.

    Page 3 of the second document is labelled `2-3`. Dates are those of the youngest part.
    """
    if not parts:
        raise invalid(["there is nothing to merge"])
    with ExitStack() as held, Pdf.new() as whole:
        tags, shelf = _Tags(whole), _Shelf(whole)
        sources, bookmarks, labels = [], [], []
        for number, (name, data) in enumerate(parts, start=1):
            source = held.enter_context(_opened(name, data))
            sources.append(source)
            first = len(whole.pages)
            try:
                has_outline = _settle_outline(source)
                whole.add_pages_from(source)
                bookmarks.append(_bookmark(whole, name, first, source if has_outline else None))
                tags.add(source, first)
                shelf.tidy(first)
            except Exception as error:  # whatever a broken file makes the library raise
                text = f"{name}: it cannot be read: {type(error).__name__}: {error}"
                raise invalid([text]) from error
            labels += [first, Dictionary(P=String(f"{number}-"), S=Name.D)]
        tags.finish(complete=all(_is_tagged(source) for source in sources))
        _chain(whole, bookmarks)
        if len(parts) > 1:
            whole.Root.PageLabels = Dictionary(Nums=Array(labels))
        _describe(whole, sources, title)
        levels = {claimed_level(source) for source in sources}
        level = levels.pop() if len(levels) == 1 else None
        if level is not None:  # made of nothing else, it is archival itself
            prepare(whole, level)
            write_packet(whole, level)
        return saved(whole)


def _opened(name: str, data: bytes) -> Pdf:
    try:
        source = Pdf.open(io.BytesIO(data))
    except pikepdf.PdfError as error:
        raise invalid([f"{name}: it does not open: {error}"]) from error
    if not len(source.pages):
        source.close()
        raise invalid([f"{name}: no page"])
    return source


def _describe(whole: Pdf, sources: Sequence[Pdf], title: str) -> None:
    dates = [str(source.docinfo.get("/CreationDate", "")) for source in sources]
    whole.docinfo = whole.make_indirect(Dictionary())
    whole.docinfo.CreationDate = whole.docinfo.ModDate = String(max(dates) or FIXED_DATE)
    whole.docinfo.Producer = String("Makeready")
    if title:
        whole.docinfo.Title = String(title)
        whole.Root.ViewerPreferences = Dictionary(DisplayDocTitle=True)
    whole.Root.PageMode = Name.UseOutlines
    languages = {str(source.Root.get(Name.Lang, "")) for source in sources}
    if len(languages) == 1 and languages != {""}:
        whole.Root.Lang = String(languages.pop())


def _bookmark(whole: Pdf, name: str, first: int, source: Pdf | None) -> Any:
    """The bookmark of a document; its own outline, if `source` has one, hangs below, closed."""
    mark = whole.make_indirect(
        Dictionary(Title=String(name), Dest=Array([whole.pages[first].obj, Name.Fit]))
    )
    if source is not None:
        # Copied after the pages, so that what refers to a page refers to its copy.
        outline: Any = whole.copy_foreign(source.make_indirect(source.Root.Outlines))
        mark.First, mark.Last = outline.First, outline.Last
        count, item = 0, outline.First
        while item is not None:
            item.Parent = mark
            count, item = count + 1, item.get(Name.Next)
        mark.Count = -count
    return mark


def _chain(whole: Pdf, bookmarks: Sequence[Any]) -> None:
    root = whole.make_indirect(Dictionary(Type=Name.Outlines, Count=len(bookmarks)))
    root.First, root.Last = bookmarks[0], bookmarks[-1]
    for one, other in pairwise(bookmarks):
        one.Next, other.Prev = other, one
    for mark in bookmarks:
        mark.Parent = root
    whole.Root.Outlines = root


def _settle_outline(source: Pdf) -> bool:
    """Turns names of places into places: names of two documents may be the same.

    False: there is no outline, or one that is too long or runs in circles.
    """
    outline = source.Root.get(Name.Outlines)
    if not isinstance(outline, Dictionary) or Name.First not in outline:
        return False
    places = _places(source)
    waiting: list[Any] = [outline.First]
    seen: set[tuple[int, int]] = set()
    while waiting:
        item = waiting.pop()
        if not isinstance(item, Dictionary) or item.objgen in seen or len(seen) >= _BOOKMARKS:
            return False
        seen.add(item.objgen)
        action = item.get(Name.A, Dictionary())
        if isinstance(item.get(Name.Dest), Name | String):
            item.Dest = places.get(str(item.Dest))
        elif action.get(Name.S) == Name.GoTo and isinstance(action.get(Name.D), Name | String):
            action.D = places.get(str(action.D))
        waiting += [item[name] for name in (Name.Next, Name.First) if name in item]
    return True


def _places(source: Pdf) -> dict[str, Any]:
    found = dict(source.Root.get(Name.Dests, Dictionary()).items())
    names = source.Root.get(Name.Names, Dictionary()).get(Name.Dests)
    if names is not None:
        found |= {str(name): place for name, place in NameTree(names).items()}
    return {
        name: place.get(Name.D) if isinstance(place, Dictionary) else place
        for name, place in found.items()
    }


def _is_tagged(source: Pdf) -> bool:
    return Name.StructTreeRoot in source.Root


class _Tags:
    """One tree of tags out of those of the documents; keys of the parent tree move up."""

    def __init__(self, whole: Pdf) -> None:
        self._whole = whole
        self._root = whole.make_indirect(Dictionary(Type=Name.StructTreeRoot))
        self._kids: list[Any] = []
        self._parents: list[Any] = []
        self._next = 0
        self._maps: dict[Name, dict[str, Any]] = {Name.RoleMap: {}, Name.ClassMap: {}}

    def add(self, source: Pdf, first: int) -> None:
        """Takes the tags of a document whose pages are in place from `first` on."""
        if not _is_tagged(source):
            for page in self._whole.pages[first:]:
                _move_keys(page.obj, None)
            return
        # Copied after the pages, so that what refers to a page refers to its copy.
        tree: Any = self._whole.copy_foreign(source.make_indirect(source.Root.StructTreeRoot))
        kids = tree.get(Name.K, Array())
        for kid in kids if isinstance(kids, Array) else [kids]:
            kid.P = self._root
            self._kids.append(kid)
        for name, known in self._maps.items():
            for key, value in tree.get(name, Dictionary()).items():
                known.setdefault(key, value)
        for page in self._whole.pages[first:]:
            _move_keys(page.obj, self._next)
        highest = -1
        if Name.ParentTree in tree:
            for key, value in NumberTree(tree.ParentTree).items():
                self._parents += [self._next + key, value]
                highest = max(highest, key)
        self._next += highest + 1

    def finish(self, *, complete: bool) -> None:
        """Enters the tree, if there is one; `complete`: every document has tags."""
        if not self._kids:
            return
        self._root.K = Array(self._kids)
        for name, known in self._maps.items():
            if known:
                self._root[name] = Dictionary(known)
        self._root.ParentTree = self._whole.make_indirect(Dictionary(Nums=Array(self._parents)))
        self._root.ParentTreeNextKey = self._next
        self._whole.Root.StructTreeRoot = self._root
        self._whole.Root.MarkInfo = Dictionary(Marked=complete)


def _move_keys(page: Any, by: int | None) -> None:
    """Moves the keys of a page and its annotations into the parent tree; None takes them away."""
    held = [(page, Name.StructParents)]
    held += [(note, Name.StructParent) for note in page.get(Name.Annots, ())]
    for holder, name in held:
        if name in holder and by is None:
            del holder[name]
        elif name in holder:
            holder[name] = int(holder[name]) + (by or 0)


class _Shelf:
    """Pictures that several documents show, such as a logo, are kept once."""

    def __init__(self, whole: Pdf) -> None:
        self._whole = whole
        self._known: dict[bytes, Any] = {}

    def tidy(self, first: int) -> None:
        """Replaces pictures that were met before, on the pages from `first` on."""
        for page in self._whole.pages[first:]:
            pictures = page.resources.get(Name.XObject, Dictionary())
            for name, picture in list(pictures.items()):
                if picture.get(Name.Subtype) == Name.Image:
                    pictures[name] = self._kept(picture)

    def _kept(self, picture: Any) -> Any:
        if isinstance(picture.get(Name.SMask), pikepdf.Stream):
            picture.SMask = self._kept(picture.SMask)
        return self._known.setdefault(_digest(picture), picture)


def _digest(value: Any, depth: int = 0) -> bytes:
    """Equal digests mean equal objects; what lies too deep is only told by its number."""
    found = hashlib.sha256(type(value).__name__.encode())
    if depth > _DIGEST_DEPTH:
        found.update(str(getattr(value, "objgen", value)).encode())
    elif isinstance(value, pikepdf.Stream | Dictionary):
        if isinstance(value, pikepdf.Stream):
            found.update(value.read_raw_bytes())
        for key, part in sorted(value.items()):
            found.update(key.encode() + _digest(part, depth + 1))
    elif isinstance(value, Array):
        for part in value:
            found.update(_digest(part, depth + 1))
    else:
        found.update(repr(value).encode())
    return found.digest()
