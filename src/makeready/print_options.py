"""How a document is printed: what engines understand, and what is done to the PDF after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import MAXYEAR, datetime
from typing import Any

from makeready.errors import Rejected
from makeready.shapes import problem
from makeready.validation import find_problems

PAPERS_MM = {
    "A3": (297.0, 420.0),
    "A4": (210.0, 297.0),
    "A5": (148.0, 210.0),
    "Letter": (215.9, 279.4),
    "Legal": (215.9, 355.6),
}
ENGINES = ("chromium", "pyppeteer")
ARCHIVAL = ("2b", "3b")
TEXT_LENGTH = 500
WATERMARK_LENGTH = 40
CUSTOM_FIELDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What the PDF says about itself; raises ValueError when a value is out of its range."""

    title: str = ""
    """Empty: the `<title>` of the document."""
    author: str = ""
    subject: str = ""
    keywords: tuple[str, ...] = ()
    custom: tuple[tuple[str, str], ...] = ()
    """Further fields by name, such as the number of a contract."""

    def __post_init__(self) -> None:
        named = (self.title, self.author, self.subject, *self.keywords)
        if any(len(text) > TEXT_LENGTH for text in (*named, *(text for _, text in self.custom))):
            raise ValueError(f"a text of metadata must have at most {TEXT_LENGTH} characters")
        if len(self.custom) > CUSTOM_FIELDS:
            raise ValueError(f"metadata.custom must have at most {CUSTOM_FIELDS} fields")
        for name, _ in self.custom:
            if not (name.isascii() and name.isidentifier() and len(name) <= 60):
                raise ValueError("a name in metadata.custom must be of letters, digits and _")
            if name in _STANDARD:
                raise ValueError(f"{name} has a field of its own, or is written by the printing")


_STANDARD = frozenset(
    {"Title", "Author", "Subject", "Keywords", "Creator", "Producer", "CreationDate", "ModDate"}
    | {"Trapped"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintOptions:
    """How a document is printed; raises ValueError when a value is out of its range."""

    engine: str | None = None
    """One of `ENGINES`; None: the one that is set for all documents."""
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
    load_timeout_s: float = 10.0
    """For the document with its assets; `wait_for` has what is left of the attempt's time."""
    print_timeout_s: float = 30.0
    created_at: datetime | None = None
    """Both dates in the PDF; None is a fixed one, so that equal documents have equal bytes."""
    pdf_a: str | None = None
    """One of `ARCHIVAL`: the archival format PDF/A, or the document fails."""
    watermark: str = ""
    """A word across every page, such as DRAFT."""
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        if self.engine not in {None, *ENGINES}:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}")
        if self.paper not in PAPERS_MM:
            raise ValueError(f"paper must be one of {', '.join(PAPERS_MM)}")
        if not 0 <= self.margin_mm <= 100:
            raise ValueError("margin_mm must be from 0 to 100")
        if not 0.1 <= self.scale <= 2:
            raise ValueError("scale must be from 0.1 to 2")
        if not all(0.1 <= limit <= 120 for limit in (self.load_timeout_s, self.print_timeout_s)):
            raise ValueError("load_timeout_s and print_timeout_s must be from 0.1 to 120")
        if self.wait_for is not None and not self.scripts:
            raise ValueError("wait_for needs scripts")
        if self.created_at is not None and not 1 < self.created_at.year < MAXYEAR:
            raise ValueError("created_at must be of the years 2 to 9998")  # in UTC it has others
        if self.pdf_a not in {None, *ARCHIVAL}:
            raise ValueError(f"pdf_a must be one of {', '.join(ARCHIVAL)}")
        if len(self.watermark) > WATERMARK_LENGTH or not self.watermark.isprintable():
            raise ValueError(f"watermark must be one line of at most {WATERMARK_LENGTH} letters")


def from_json(value: Any) -> PrintOptions:
    """Print options as `SCHEMA` describes them; raises Rejected, problems in its details."""
    problems = find_problems(SCHEMA, value)
    if not problems:
        try:
            return _made(value)
        except ValueError as error:
            problems = [problem("not_allowed", "", str(error), "")]
    raise Rejected(
        f"the print options do not fit: {problems[0]['path']} {problems[0]['message']}".strip(),
        details={"problems": problems},
    )


def to_json(options: PrintOptions) -> dict[str, Any]:
    """What `from_json` reads these from; what is as by default is left out."""
    usual = PrintOptions()
    found = {entry.name: getattr(options, entry.name) for entry in fields(PrintOptions)}
    changed = {name: value for name, value in found.items() if value != getattr(usual, name)}
    if options.created_at is not None:
        changed["created_at"] = options.created_at.isoformat()
    if "metadata" in changed:
        said = asdict(options.metadata)
        said["custom"] = dict(options.metadata.custom)
        changed["metadata"] = {name: value for name, value in said.items() if value}
    return changed


def _made(value: Mapping[str, Any]) -> PrintOptions:
    found = dict(value)
    if found.get("created_at") is not None:
        found["created_at"] = datetime.fromisoformat(found["created_at"])
    if "metadata" in found:
        said = found["metadata"]
        if not all(isinstance(text, str) for text in said.get("custom", {}).values()):
            raise ValueError("a value in metadata.custom must be a text")
        found["metadata"] = Metadata(
            **{name: said[name] for name in ("title", "author", "subject") if name in said},
            keywords=tuple(said.get("keywords", ())),
            custom=tuple(sorted(said.get("custom", {}).items())),
        )
    return PrintOptions(**found)


def _text(description: str, longest: int = TEXT_LENGTH) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest, "description": description}


def _truth(description: str) -> dict[str, Any]:
    return {"type": "boolean", "description": description}


def _choice(description: str, *values: str | None) -> dict[str, Any]:
    return {"enum": list(values), "description": description}


def _number(description: str, least: float, most: float) -> dict[str, Any]:
    return {"type": "number", "minimum": least, "maximum": most, "description": description}


_METADATA: Mapping[str, Any] = {
    "type": "object",
    "description": "What the PDF says about itself.",
    "additionalProperties": False,
    "properties": {
        "title": _text("Else the title of the HTML."),
        "author": _text("Who wrote it."),
        "subject": _text("What it is about."),
        "keywords": {"type": "array", "maxItems": 50, "items": _text("One word or phrase.")},
        "custom": {
            "type": "object",
            "description": f"At most {CUSTOM_FIELDS} further texts by name.",
            "additionalProperties": True,
            "properties": {},
        },
    },
}

_PROPERTIES: Mapping[str, Mapping[str, Any]] = {
    "engine": _choice("Which engine prints; null: the one that is set for all.", None, *ENGINES),
    "paper": _choice("Size of the paper unless the style sheet says another.", *PAPERS_MM),
    "landscape": _truth("Whether the paper lies."),
    "margin_mm": _number("Margins on all sides unless the style sheet says others.", 0, 100),
    "scale": _number("Of the text, not of the paper.", 0.1, 2),
    "page_ranges": _text("Such as `1-3, 5`; empty: all pages.", 200),
    "backgrounds": _truth("Whether background colours and pictures are printed."),
    "css_page_size": _truth("Whether `@page` wins over paper and margins."),
    "accessible": _truth("Tagged PDF; long tables get larger and slower."),
    "outline": _truth("Bookmarks from headings; turns the tags on."),
    "scripts": _truth("Whether scripts of the document run."),
    "wait_for": {
        "type": ["string", "null"],
        "maxLength": 1000,
        "description": "A script expression that must become true first; only with scripts.",
    },
    "strict_assets": _truth("Whether a missing picture, font or style sheet fails the document."),
    "load_timeout_s": _number("Seconds to load the document with its assets.", 0.1, 120),
    "print_timeout_s": _number("Seconds for the printing itself.", 0.1, 120),
    "created_at": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "Both dates in the PDF; null: a fixed one.",
    },
    "pdf_a": _choice("The archival format, or the document fails.", None, *ARCHIVAL),
    "watermark": _text("A word across every page, such as DRAFT.", WATERMARK_LENGTH),
    "metadata": _METADATA,
}


def _with_default(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    default = next(each.default for each in fields(PrintOptions) if each.name == name)
    return dict(schema) if default is MISSING else {**schema, "default": default}


SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "How the document is printed.",
    "additionalProperties": False,
    "properties": {name: _with_default(name, part) for name, part in _PROPERTIES.items()},
}
"""JSON Schema of what `from_json` takes."""
