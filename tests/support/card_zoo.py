"""Templates made object by object: every box where one wants it, every fault on purpose."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pikepdf
import pytest
import segno
from pikepdf import Array, Dictionary, Name, Pdf

from makeready.cards.compile import compiled
from makeready.cards.drawing import Resource
from makeready.cards.geometry import frame
from makeready.cards.inspection import inspect
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.stamp import Stamper
from makeready.cards.template import TemplateFacts
from makeready.cards.wording import codes

Change = Callable[[Pdf, Any], None]
"""Of a document and its first page."""
LINK = "https://go.example.ru/t/4b8c"
SIDE_MM = 33.0
MODULES = 37
"""Of the code that `code_at` draws, with its quiet zone."""


def plain(
    content: bytes = b"0.9 g 0 0 2000 2000 re f",
    *,
    media: Sequence[float] = (0, 0, 297.64, 419.53),
    page: Mapping[str, Any] | None = None,
    above: Mapping[str, Any] | None = None,
    change: Change | None = None,
    pages: int = 1,
    **saved: Any,
) -> bytes:
    """Pages with this content; keys of the page, and of the node above it."""
    document = pikepdf.new()
    for _ in range(pages):
        document.add_blank_page(page_size=(200, 200))
    for each in document.pages:
        each.obj.MediaBox = Array(list(media))
        each.obj.Contents = document.make_stream(content)
        for name, value in (page or {}).items():
            each.obj[name] = value
        for name, value in (above or {}).items():
            document.Root.Pages[name] = value
            if name in each.obj:
                del each.obj[name]
    if change:
        change(document, document.pages[0].obj)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of widgets that no form lists
        document.save(out, static_id=True, **saved)
    return out.getvalue()


def code_at(x: float, y: float, link: str = LINK) -> bytes:
    """Operators, in millimetres, of a code in an opaque white box."""
    matrix = segno.make(link, error="m", boost_error=False, micro=False).matrix
    module = SIDE_MM / MODULES
    drawn = [b"0 0 0 0 k %.3f %.3f %.3f %.3f re f 0 0 0 1 k" % (x, y, SIDE_MM, SIDE_MM)]
    for down, row in enumerate(matrix):
        for right, is_dark in enumerate(row):
            if is_dark:
                place = (x + (right + 4) * module, y + (down + 4) * module, module, module)
                drawn.append(b"%.4f %.4f %.4f %.4f re" % place)
    return b"\n".join([*drawn, b"f"])


def stamped(
    pdf: bytes,
    operators: bytes | Mapping[int, bytes],
    *,
    origin: Any = "trim",
    resources: Sequence[Resource] = (),
) -> bytes:
    """A card with these operators on its first page, or on several."""
    facts = inspect(pdf)
    frames = {page.number: frame(page, origin) for page in facts.pages}
    drawn = {1: operators} if isinstance(operators, bytes) else operators
    template = compiled(pdf, frames, tuple(drawn), resources)
    return template.prefix + Stamper(template).stamp(drawn).tail


def changed(change: Change, **kept: Any) -> TemplateFacts:
    """What a template is that was changed in this way."""
    return inspect(plain(change=change, **kept))


def refused(pdf: bytes) -> tuple[Problem, ...]:
    """Why it is not taken; there are words for all of it."""
    with pytest.raises(CardsRefused) as caught:
        inspect(pdf)
    assert {problem.code for problem in caught.value.problems} <= codes()
    return caught.value.problems


def widget(document: Pdf, page: Any, name: str, rect: Sequence[float], **keys: Any) -> Any:
    """A text field of the form; keys of its dictionary."""
    field = document.make_indirect(
        Dictionary(
            Type=Name.Annot,
            Subtype=Name.Widget,
            FT=Name.Tx,
            T=name,
            Rect=Array(list(rect)),
            F=4,
            **keys,
        )
    )
    page.Annots = Array([*page.get(Name.Annots, Array()), field])
    if Name.AcroForm not in document.Root:
        document.Root.AcroForm = Dictionary(Fields=Array(), DA="/Helv 11 Tf 0 g")
    document.Root.AcroForm.Fields.append(field)
    return field
