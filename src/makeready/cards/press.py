"""One generation in memory: template compiled, fonts cut, symbols encoded; cards on demand."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import pikepdf

from makeready.cards.checks import problems
from makeready.cards.compile import compiled
from makeready.cards.drawing import Drawn, Painter
from makeready.cards.geometry import Frame, frame
from makeready.cards.inspection import inspect
from makeready.cards.order import Order
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.settings import CardSettings, read_settings
from makeready.cards.stamp import Stamper
from makeready.cards.template import TemplateFacts
from makeready.cards.values import Row

__all__ = ["STAMPER", "Card", "Order", "Press"]

_VERSION = 1  # counts up with every change after which the same order makes other bytes
_MAKERS = ("pymupdf", "pymupdf-fonts", "fonttools", "segno")
STAMPER = ", ".join(
    [
        f"makeready-cards {_VERSION}",
        *(f"{name} {version(name)}" for name in _MAKERS),
        f"qpdf {pikepdf.__libqpdf_version__}",
        f"zlib {zlib.ZLIB_RUNTIME_VERSION}",
    ]
)
"""All whose version shows in the bytes of a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One stamped card: what follows the prefix that all cards of the generation share."""

    index: int
    tail: bytes
    byte_count: int
    """Of the whole file, and so are the checksums."""
    crc32: int
    sha256: bytes
    drawn: Drawn


class Press:
    """A generation that was made ready: nothing that cannot be printed gets this far."""

    def __init__(
        self,
        *,
        pdf: bytes,
        assets: Mapping[str, bytes],
        prefix: bytes,
        frames: Mapping[int, Frame],
        rows: Sequence[Row],
        settings: CardSettings,
        facts: TemplateFacts,
        painter: Painter,
        stamper: Stamper,
        blanks: Mapping[int, int],
        warnings: Sequence[Problem] = (),
    ) -> None:
        self.pdf = pdf
        """The template."""
        self.assets = assets
        self.prefix = prefix
        """The bytes that all its cards begin with."""
        self.frames = frames
        """Of all pages of the template."""
        self.rows = rows
        self.settings = settings
        self.facts = facts
        self.pages = painter.pages
        """Those that are stamped."""
        self.blanks = blanks
        """Of each of them, the number of the object that is a card's own."""
        self.warnings = warnings
        """What is odd and stops nothing."""
        self._painter = painter
        self._stamper = stamper

    @classmethod
    def open(cls, order: Order, facts: TemplateFacts | None = None) -> Press:
        """Makes an order ready; raises CardsRefused with all that is wrong with it.

        `facts` spare a look at a template that was looked at before.
        """
        sha256 = hashlib.sha256(order.pdf).hexdigest()
        known = facts if facts and facts.sha256 == sha256 else inspect(order.pdf)
        settings = read_settings(order.settings)
        found = problems(known, settings, order.rows, order.assets)
        if any(problem.is_error for problem in found):
            raise CardsRefused(found)
        painter = Painter(
            settings,
            order.rows,
            has_cmyk=known.has_cmyk,
            pages=len(known.pages),
            assets=order.assets,
        )
        frames = {page.number: frame(page, settings.origin) for page in known.pages}
        template = compiled(order.pdf, frames, painter.pages, painter.resources)
        return cls(
            pdf=order.pdf,
            assets=order.assets,
            prefix=template.prefix,
            frames=frames,
            rows=order.rows,
            settings=settings,
            facts=known,
            painter=painter,
            stamper=Stamper(template),
            blanks={blank.page: blank.number for blank in template.blanks},
            warnings=found,
        )

    def stamp(self, index: int) -> Card:
        """The card of one row; raises CardsRefused."""
        drawn = self._painter.draw(index)
        stamped = self._stamper.stamp(drawn.operators)
        return Card(
            index=index,
            tail=stamped.tail,
            byte_count=stamped.byte_count,
            crc32=stamped.crc32,
            sha256=stamped.sha256,
            drawn=drawn,
        )

    def whole(self, card: Card) -> bytes:
        """The file."""
        return self.prefix + card.tail
