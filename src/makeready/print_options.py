"""How a document is printed: what engines understand, and what is done to the PDF after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

PAPERS_MM = {
    "A3": (297.0, 420.0),
    "A4": (210.0, 297.0),
    "A5": (148.0, 210.0),
    "Letter": (215.9, 279.4),
    "Legal": (215.9, 355.6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintOptions:
    """How a document is printed; raises ValueError when a value is out of its range."""

    paper: str = "A4"
    landscape: bool = False
    margin_mm: float = 18.0
    scale: float = 1.0
    page_ranges: str = ""
    """Such as `1-3, 5`; empty: all pages."""
    backgrounds: bool = True
    css_page_size: bool = True
    """Whether `@page` of the document wins over paper and margins."""
    accessible: bool = False
    """Tagged PDF: up to twenty times the size and seven times as slow on long tables."""
    outline: bool = False
    """Bookmarks from headings; needs the tags and turns them on."""
    scripts: bool = False
    wait_for: str | None = None
    """A script expression that must become true before printing; only with `scripts`."""
    strict_assets: bool = True
    """Whether a missing picture, font or style sheet fails the document; else it is a warning."""
    created_at: datetime | None = None
    """Both dates in the PDF; None is a fixed one, so that equal documents have equal bytes."""

    def __post_init__(self) -> None:
        if self.paper not in PAPERS_MM:
            raise ValueError(f"paper must be one of {', '.join(PAPERS_MM)}")
        if not 0 <= self.margin_mm <= 100:
            raise ValueError("margin_mm must be from 0 to 100")
        if not 0.1 <= self.scale <= 2:
            raise ValueError("scale must be from 0.1 to 2")
        if self.wait_for is not None and not self.scripts:
            raise ValueError("wait_for needs scripts")
