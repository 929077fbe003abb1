"""Fields become drawing operators, in millimetres as the designer sees them, y downwards.

What is drawn knows nothing of boxes and rotation: it becomes a form whose matrix turns
millimetres into the page's user space (`compile`). Text therefore brings its own mirroring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from makeready.cards import findings, pens
from makeready.cards.colours import Inks, separation
from makeready.cards.embedding import font_parts
from makeready.cards.fonts import Subset
from makeready.cards.geometry import Box
from makeready.cards.images import Picture
from makeready.cards.modules import size_of
from makeready.cards.pens import CodePen, TextPen
from makeready.cards.problems import CardsRefused
from makeready.cards.qr import Symbol
from makeready.cards.settings import (
    CardSettings,
    Colour,
    Field,
    ImageField,
    QrField,
    TextField,
    page_numbers,
)
from makeready.cards.text import TooLarge, alphabet, fit
from makeready.cards.values import Row

Category: TypeAlias = Literal["Font", "XObject", "ColorSpace", "ExtGState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfPart:
    """One object of the file. In `head`, `{0}`, `{1}`, … stand for references to its fellows.

    With `data` it is a stream: `head` is then its dictionary without `/Length`, and `data` is
    already encoded as the dictionary's `/Filter` says.
    """

    head: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What operators name, the same for all cards of a generation; `parts[0]` is the thing."""

    category: Category
    name: str
    parts: tuple[PdfPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCode:
    """A code as it must be found on the card."""

    field: str
    page: int
    box: Box
    """Of the modules, without quiet zone, before rotation, in millimetres."""
    rotate: float
    quiet_zone: float
    symbol: Symbol
    covered: frozenset[tuple[int, int]] = frozenset()
    """Row and column of the modules below a logo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedText:
    """A text as it must be found on the card."""

    field: str
    page: int
    box: Box
    """The field's, before rotation."""
    rotate: float
    text: str
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One card's fields: operators a page, and what must be found there."""

    operators: dict[int, bytes]
    """By page number, from 1."""
    codes: tuple[PlacedCode, ...]
    texts: tuple[PlacedText, ...]


class Painter:
    """Draws the cards of one generation; raises CardsRefused with all that cannot be drawn."""

    def __init__(
        self,
        settings: CardSettings,
        rows: Sequence[Row],
        *,
        has_cmyk: bool,
        pages: int,
        assets: Mapping[str, bytes],
    ) -> None:
        found, problems = findings.gather(settings, rows, assets)
        if any(problem.is_error for problem in problems):
            raise CardsRefused(problems)
        self._found = found
        self._fields = tuple(
            (each, page_numbers(each.field.pages, pages)) for each in found.filled
        )
        self._resources = _Resources(has_cmyk=has_cmyk)
        self._subsets = self._cut()
        self._codes: dict[str, CodePen] = {}
        self._texts: dict[str, TextPen] = {}
        self._images: dict[str, str] = {}
        for field in settings.fields:
            self._take_pen(field)
        self.resources = self._resources.all()
        self.pages = tuple(sorted({page for _, numbers in self._fields for page in numbers}))
        """Numbers of the pages that are stamped."""

    def draw(self, index: int) -> Drawn:
        """The fields of one card, in the order of the settings."""
        operators: dict[int, list[str]] = {page: [] for page in self.pages}
        codes: list[PlacedCode] = []
        texts: list[PlacedText] = []
        for each, numbers in self._fields:
            value, field = each.texts[index], each.field
            if value is None:
                continue
            if isinstance(field, QrField):
                drawn, placed_codes = self._code(field, value, numbers)
                codes += placed_codes
            elif isinstance(field, ImageField):
                drawn = self._images[field.id]
            elif value:
                drawn, placed_texts = self._text(field, value, numbers)
                texts += placed_texts
            else:
                continue
            for page in numbers:
                operators[page].append(drawn)
        return Drawn(
            operators={page: "".join(parts).encode() for page, parts in operators.items()},
            codes=tuple(codes),
            texts=tuple(texts),
        )

    def _code(
        self, field: QrField, value: str, pages: Sequence[int]
    ) -> tuple[str, list[PlacedCode]]:
        pen = self._codes[field.id]
        symbol = self._found.batches[field.id].symbol(value)
        return pen.draw(symbol), [
            PlacedCode(
                field=field.id,
                page=page,
                box=pen.box,
                rotate=field.rotate,
                quiet_zone=field.quiet_zone,
                symbol=symbol,
                covered=pen.covered,
            )
            for page in pages
        ]

    def _text(
        self, field: TextField, value: str, pages: Sequence[int]
    ) -> tuple[str, list[PlacedText]]:
        fitted = fit(value, field, self._found.fonts[findings.font_key(field)])
        if isinstance(fitted, TooLarge):  # gather has refused it
            raise CardsRefused([])
        return self._texts[field.id].draw(fitted), [
            PlacedText(
                field=field.id,
                page=page,
                box=(field.x, field.y, field.x + field.width, field.y + field.height),
                rotate=field.rotate,
                text=fitted.text,
                size=fitted.size,
            )
            for page in pages
        ]

    def _take_pen(self, field: Field) -> None:
        """What of a field is the same on all cards."""
        inks, pictures = self._resources.inks, self._found.pictures
        if isinstance(field, QrField):
            place = self._found.logos.get(field.id)
            logo = None
            if place is not None and field.logo is not None:
                picture = pictures[field.logo.asset]
                logo = (self._resources.picture(field.logo.asset, picture), picture, place)
            size = size_of(self._found.batches[field.id].version)
            self._codes[field.id] = CodePen(field, size, inks, logo)
        elif isinstance(field, TextField):
            subset = self._subsets[findings.font_key(field)]
            name = self._resources.font(subset)
            self._texts[field.id] = TextPen(field, name, subset, inks)
        else:
            picture = pictures[field.asset]
            name = self._resources.picture(field.asset, picture)
            self._images[field.id] = pens.image(field, name, picture)

    def _cut(self) -> dict[tuple[str, str], Subset]:
        """One subset a font, with the characters of all its fields on all cards."""
        chars: dict[tuple[str, str], set[str]] = {}
        for each in self._found.filled:
            if isinstance(each.field, TextField):
                known = chars.setdefault(findings.font_key(each.field), set())
                known |= alphabet(each.distinct)
        return {key: self._found.fonts[key].subset(known) for key, known in chars.items()}


class _Resources:
    """Names given to fonts, pictures and spot colours, once each."""

    def __init__(self, *, has_cmyk: bool) -> None:
        self._known: dict[str, Resource] = {}
        self.inks = Inks(has_cmyk=has_cmyk, spot=self._spot)

    def all(self) -> tuple[Resource, ...]:
        """In the order in which they were first used."""
        return tuple(self._known.values())

    def font(self, subset: Subset) -> str:
        return self._name("Font", "F", subset.name, font_parts(subset))

    def picture(self, asset: str, picture: Picture) -> str:
        return self._name("XObject", "I", asset, picture.parts)

    def _spot(self, colour: Colour) -> str:
        space = separation(colour)
        return self._name("ColorSpace", "S", space, ((space, None),))

    def _name(
        self, category: Category, letter: str, key: str, parts: Sequence[tuple[str, bytes | None]]
    ) -> str:
        known = self._known.get(key)
        if known is None:
            name = f"{letter}{1 + sum(each.category == category for each in self.all())}"
            known = self._known[key] = Resource(
                category=category,
                name=name,
                parts=tuple(PdfPart(head=head, data=data) for head, data in parts),
            )
        return known.name
