"""What is put on a template, and where: the settings as records, and how they are read.

`read` looks at the settings alone and finds all that is wrong in their form; whether they fit a
template and the tables' data is judged by `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from makeready.cards import schema, values
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.template import TemplateFacts
from makeready.shapes import shown
from makeready.validation import find_problems

SCHEMA = schema.SCHEMA
MIN_MODULE_MM = 0.40
MIN_MODULE_ERROR_MM = 0.30
USUAL_SIZE, USUAL_MIN_SIZE = 12, 6
"""Points."""
USUAL_NAME = "{table.number}.pdf"

Align: TypeAlias = Literal["left", "center", "right"]
VAlign: TypeAlias = Literal["top", "middle", "bottom"]
PageChoice: TypeAlias = tuple[int, ...] | Literal["all", "odd", "even"]
"""Numbers from 1; negative ones count from the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """Ink: `black` is chosen by the template, the others are as they say."""

    space: Literal["black", "white", "gray", "cmyk", "rgb", "spot"] = "black"
    parts: tuple[float, ...] = ()
    """0 to 1 each: one of gray, four of cmyk and of a spot colour's substitute, three of rgb."""
    name: str = ""
    """Of a spot colour."""
    tint: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """What all fields have; lengths in mm, `rotate` in degrees clockwise about the centre."""

    id: str
    pages: PageChoice
    x: float
    y: float
    width: float
    height: float
    rotate: float = 0
    condition: str = ""
    """`if`: the field is left out where this value is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo:
    """A picture in the middle of a code."""

    asset: str
    """sha256:… of an uploaded picture."""
    area: float = 0.08
    """Its part of the symbol's area, its white margin of one module not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QrField(_Placed):
    """A code; the square that fits into the box is used, quiet zone included."""

    value: str
    ecc: Literal["L", "M", "Q", "H"] = "M"
    boost: bool = True
    version: int | None = None
    """None: one version for the whole generation, as large as its longest value needs."""
    mask: int | None = None
    quiet_zone: float = 4
    """Modules."""
    background: Colour | None = field(default_factory=lambda: Colour(space="white"))
    """None: what is printed below shows through."""
    color: Colour = field(default_factory=Colour)
    align: Align = "center"
    valign: VAlign = "middle"
    logo: Logo | None = None
    scan_distance_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextField(_Placed):
    """Text in one font; sizes in points."""

    value: str
    font: str = "noto-sans"
    """A shipped family, or sha256:… of an uploaded font."""
    weight: Literal["regular", "bold"] = "regular"
    size: float = USUAL_SIZE
    min_size: float = USUAL_MIN_SIZE
    fit: Literal["shrink", "none"] = "shrink"
    max_lines: int = 1
    line_height: float = 1.15
    letter_spacing: float = 0
    """Points."""
    align: Align = "left"
    valign: VAlign = "top"
    color: Colour = field(default_factory=Colour)
    case: Literal["none", "upper", "lower"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageField(_Placed):
    """An uploaded picture."""

    asset: str
    fit: Literal["contain", "cover", "stretch"] = "contain"


Field: TypeAlias = QrField | TextField | ImageField


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """How cards lie on printed sheets; lengths in mm."""

    width: float
    height: float
    is_named: bool = False
    """A format such as A4, upright here: it is turned where only so the cards find room."""
    cols: int
    """0: as many as fit."""
    rows: int
    """0: as many as fit."""
    gutter: float = 0
    bleed: float = 3
    crop_marks: bool = True
    duplex: Literal["none", "long-edge", "short-edge"] = "none"
    start: int = 0
    """Places of the first sheet that are used up already."""
    order: Literal["rows", "stack"] = "rows"
    """stack: cut stacks lie in order when put on top of each other."""
    fold: bool = False
    """A table tent: the same card again above the fold line, turned by 180°."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSettings:
    """Settings that were read and are sound in themselves; see `checks` for the rest."""

    fields: tuple[Field, ...]
    origin: Literal["trim", "crop", "media"] = "trim"
    min_module_mm: float = MIN_MODULE_MM
    min_module_error_mm: float = MIN_MODULE_ERROR_MM
    name: str = USUAL_NAME
    """Of a card's file: literals and values."""
    sheet: Sheet | None = None
    cold_every: int = 50
    """Each how-manieth card is verified from its final bytes alone."""
    check_text: bool = True


def page_numbers(choice: PageChoice, count: int) -> list[int]:
    """The pages that are chosen of so many, in order; those that are not there are left out."""
    if isinstance(choice, str):
        start = 2 if choice == "even" else 1
        return list(range(start, count + 1, 1 if choice == "all" else 2))
    wanted = {page + count + 1 if page < 0 else page for page in choice}
    return sorted(page for page in wanted if 1 <= page <= count)


def read_settings(raw: Any) -> CardSettings:
    """Reads settings from JSON; raises CardsRefused with all that is wrong in their form."""
    found, problems = read(raw)
    if problems or not found:
        raise CardsRefused(problems)
    return found


def read(raw: Any) -> tuple[CardSettings | None, list[Problem]]:
    """The settings as far as they can be read, and all that is wrong in their form.

    A value that cannot be read is empty, so that the rest can be judged at once; None: the JSON
    does not fit the schema.
    """
    wrong = find_problems(SCHEMA, raw)
    if wrong:
        return None, [_misshapen(each, raw) for each in wrong]
    reader = _Reader(raw)
    return reader.settings(), reader.problems


def copied(
    source: Mapping[str, Any], facts: TemplateFacts
) -> tuple[dict[str, Any], list[Problem]]:
    """Settings of another template for this one, at the same millimetres.

    Pages that this one lacks are left out, and fields that were on no others; each is told as a
    warning. Whether the rest fits is judged by `checks`, as always.
    """
    fields, left_out = [], []
    count = len(facts.pages)
    for place, each in enumerate(source.get("fields", ())):
        pages = each.get("pages", [1])
        kept = pages if isinstance(pages, str) else [p for p in pages if page_numbers((p,), count)]
        if kept != pages:
            missing = next(page for page in pages if page not in kept)
            case = "one" if count == 1 else "several"
            told = {"case": case, "page": missing, "pages": count}
            path = f"fields[{place}].pages"
            left_out.append(
                Problem(code="field_page_missing", path=path, is_error=False, facts=told)
            )
        if kept:
            fields.append({**each, "pages": kept} if "pages" in each else dict(each))
    return {**source, "fields": fields}, left_out


def _misshapen(found: Mapping[str, str], raw: Any) -> Problem:
    about, _, expected = found["hint"].rpartition("expected ")
    keyword, _, wanted = expected.partition(": ")
    facts: dict[str, Any] = {"case": found["code"], "found": shown(_at(raw, found["path"]))}
    if found["code"] == "unknown_field":
        known = found["hint"].partition(": ")[2].split(", ")
        name = found["path"].rpartition(".")[2]
        facts |= {"found": name, "known": known, "nearest": values.nearest(name, known)}
    elif found["code"] == "missing_field":
        facts |= {"found": found["path"].rpartition(".")[2]}
    elif about or keyword:
        facts |= {"keyword": keyword, "wanted": wanted.split(", "), "about": about.rstrip("; ")}
    return Problem(code="settings_schema", path=found["path"], facts=facts)


def _at(raw: Any, path: str) -> Any:
    for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            raw = raw[name] if name else raw[int(place)]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


class _Reader:
    """Makes records of JSON that fits the schema."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._defaults = raw.get("defaults", {})
        self.problems: list[Problem] = []

    def settings(self) -> CardSettings:
        output, limits = self._raw.get("output", {}), self._raw.get("limits", {})
        verify, impose = self._raw.get("verify", {}), output.get("impose")
        least = limits.get("min_module_error_mm", MIN_MODULE_ERROR_MM)
        return CardSettings(
            fields=tuple(
                self._field(each, f"fields[{place}]")
                for place, each in enumerate(self._raw["fields"])
            ),
            origin=self._raw.get("origin", {}).get("box", "trim"),
            min_module_mm=max(limits.get("min_module_mm", MIN_MODULE_MM), least),
            min_module_error_mm=least,
            name=self._value(output.get("name", USUAL_NAME), "output.name"),
            sheet=_sheet(impose) if impose else None,
            cold_every=verify.get("sample_cold_every", 50),
            check_text=verify.get("check_text", True),
        )

    def _field(self, raw: Mapping[str, Any], path: str) -> Field:
        placed = {name: raw[name] for name in ("id", "x", "y", "width", "height")}
        pages = raw.get("pages", [1])
        placed["pages"] = pages if isinstance(pages, str) else tuple(int(page) for page in pages)
        placed["rotate"] = raw.get("rotate", 0)
        placed["condition"] = self._value(raw.get("if", ""), f"{path}.if")
        kind = raw["kind"]
        if kind == "image":
            return ImageField(asset=raw["asset"], fit=raw.get("fit", "contain"), **placed)
        placed["value"] = self._value(raw["value"], f"{path}.value")
        color = raw.get("color", self._defaults.get("color", "black"))
        placed["color"] = self._colour(color, f"{path}.color")
        return self._qr(raw, path, placed) if kind == "qr" else self._text(raw, path, placed)

    def _qr(self, raw: Mapping[str, Any], path: str, placed: Mapping[str, Any]) -> QrField:
        given = _given(raw, "ecc", "boost", "quiet_zone", "align", "valign", "scan_distance_mm")
        for name in ("version", "mask"):
            chosen = raw.get(name, "auto")
            given[name] = None if chosen == "auto" else int(chosen)
        paper = raw.get("background", "white")
        is_clear = paper is None or paper == "none"
        given["background"] = None if is_clear else self._colour(paper, f"{path}.background")
        logo = raw.get("logo")
        given["logo"] = Logo(**logo) if logo else None
        given.setdefault("ecc", "H" if logo else "M")
        return QrField(**placed, **given)

    def _text(self, raw: Mapping[str, Any], path: str, placed: Mapping[str, Any]) -> TextField:
        given = _given(
            raw, "weight", "size", "min_size", "fit", "max_lines", "line_height",
            "letter_spacing", "align", "valign", "case",
        )  # fmt: skip
        given["font"] = raw.get("font", self._defaults.get("font", "noto-sans"))
        given["max_lines"] = int(given.get("max_lines", 1))
        size = given.setdefault("size", USUAL_SIZE)
        if given.setdefault("min_size", min(size, USUAL_MIN_SIZE)) > size:
            facts = {"case": "min_size", "min_size": given["min_size"], "size": size}
            self._note("settings_schema", f"{path}.min_size", facts)
        return TextField(**placed, **given)

    def _colour(self, raw: Any, path: str) -> Colour:
        if isinstance(raw, str):
            return Colour(space="white" if raw == "white" else "black")
        if len(raw) != 1:
            self._note("settings_schema", path, {"case": "colour", "found": sorted(raw)})
            return Colour()
        ((space, ink),) = raw.items()
        if space == "spot":
            inks = tuple(map(float, ink["cmyk"]))
            return Colour(space="spot", parts=inks, name=ink["name"], tint=ink.get("tint", 1.0))
        if space == "rgb":
            parts = tuple(part / 255 for part in bytes.fromhex(ink[1:]))
            return Colour(space="rgb", parts=parts)
        return Colour(space=space, parts=tuple(map(float, [ink] if space == "gray" else ink)))

    def _value(self, text: str, path: str) -> str:
        try:
            return values.parse(text).source
        except values.BadValue as error:
            self._note(error.code, path, error.facts)
            return ""

    def _note(self, code: str, path: str, facts: Mapping[str, Any]) -> None:
        self.problems.append(Problem(code=code, path=path, facts=facts))


def _given(raw: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: raw[name] for name in names if name in raw}


def _sheet(raw: Mapping[str, Any]) -> Sheet:
    sheet = raw["sheet"]
    is_named = isinstance(sheet, str)
    width, height = schema.SHEETS_MM[sheet] if is_named else (sheet["width"], sheet["height"])
    given = _given(raw, "bleed", "gutter", "crop_marks", "duplex", "order", "fold")
    given |= {name: int(raw[name]) for name in ("cols", "rows", "start") if name in raw}
    return Sheet(width=width, height=height, is_named=is_named, **given)
