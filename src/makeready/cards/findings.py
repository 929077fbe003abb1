"""What a batch is drawn with, and all that keeps it from being drawn, at once."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from makeready.cards import fonts, images, logos, text
from makeready.cards.filling import Filled, fill, labels
from makeready.cards.fonts import BadFont, Font
from makeready.cards.images import BadPicture, Picture
from makeready.cards.logos import Place
from makeready.cards.modules import size_of
from makeready.cards.problems import Problem
from makeready.cards.qr import Batch, TooLong, least_version
from makeready.cards.settings import CardSettings, QrField, TextField
from makeready.cards.text import TooLarge
from makeready.cards.values import Row

Problems = list[Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Values, symbols, fonts and pictures of a batch; what is wanting is named by a problem."""

    filled: tuple[Filled, ...]
    batches: dict[str, Batch] = field(default_factory=dict)
    """By the field's id, and so are logos."""
    logos: dict[str, Place] = field(default_factory=dict)
    fonts: dict[tuple[str, str], Font] = field(default_factory=dict)
    """By family and weight; an uploaded one has one weight."""
    pictures: dict[str, Picture] = field(default_factory=dict)
    """By asset."""


def gather(
    settings: CardSettings, rows: Sequence[Row], assets: Mapping[str, bytes]
) -> tuple[Materials, Problems]:
    """Everything that is drawn on these cards, or why it cannot be."""
    filled, unfilled = fill(settings, rows)
    found = Materials(filled=filled)
    problems = list(unfilled)
    for each in filled:
        kind = each.field
        if isinstance(kind, QrField):
            problems += _code(found, each, kind, rows, assets)
        elif isinstance(kind, TextField):
            problems += _lettering(found, each, kind, rows, assets)
        else:
            problems += _picture(found, kind.asset, f"{each.path}.asset", assets)
    return found, problems


def ecc(code: QrField) -> str:
    """The level that is asked for: a logo needs the highest."""
    return "H" if code.logo is not None else code.ecc


def font_key(lettering: TextField) -> tuple[str, str]:
    """What a font is known by here."""
    return lettering.font, "" if lettering.font.startswith("sha256:") else lettering.weight


def _code(
    found: Materials,
    filled: Filled,
    code: QrField,
    rows: Sequence[Row],
    assets: Mapping[str, bytes],
) -> Problems:
    level = ecc(code)
    try:
        found.batches[code.id] = batch = Batch(
            [each for each in filled.texts if each is not None],
            level=level,
            boost=code.boost,
            version=code.version,
            mask=code.mask,
        )
    except TooLong:
        return [_too_long(filled, code, rows)]
    if code.logo is None:
        return []
    path = f"{filled.path}.logo"
    problems = _picture(found, code.logo.asset, f"{path}.asset", assets)
    if code.logo.area > logos.BUDGET:
        facts = {
            "case": "area",
            "area": round(100 * code.logo.area, 1),
            "most": round(100 * logos.BUDGET, 1),
            "usable": 0.08,
        }
        problems.append(Problem(code="qr_logo", path=f"{path}.area", facts=facts))
    elif not problems:
        picture = found.pictures[code.logo.asset]
        size = size_of(batch.version)
        place = logos.place(size, code.logo.area, picture.width / picture.height)
        if place is None:
            facts = {"case": "small", "version": batch.version}
            problems.append(Problem(code="qr_logo", path=path, facts=facts))
        else:
            found.logos[code.id] = place
    return problems


def _too_long(filled: Filled, code: QrField, rows: Sequence[Row]) -> Problem:
    """Names the longest, and all that are too long."""
    level, version = ecc(code), code.version or 40
    bad = [each for each in filled.distinct if not _holds(each, level, version)]
    return Problem(
        code="qr_capacity",
        path=f"{filled.path}.value",
        facts={
            "field": code.id,
            "bytes": max(len(each.encode("utf-8", "replace")) for each in bad),
            "version": version,
            "ecc": level,
        },
        tables=labels(filled, rows, bad),
    )


def _holds(payload: str, level: str, version: int) -> bool:
    try:
        return least_version([payload], level) <= version
    except TooLong:
        return False


def _lettering(
    found: Materials,
    filled: Filled,
    lettering: TextField,
    rows: Sequence[Row],
    assets: Mapping[str, bytes],
) -> Problems:
    key = font_key(lettering)
    font = found.fonts.get(key)
    if font is None:
        opened = _font(key, f"{filled.path}.font", assets)
        if isinstance(opened, Problem):
            return [opened]
        font = found.fonts[key] = opened
    try:
        return _unprintable(filled, lettering, font, rows)
    except BadFont as error:
        return [_unreadable(lettering.font, f"{filled.path}.font", error)]


def _unprintable(
    filled: Filled, lettering: TextField, font: Font, rows: Sequence[Row]
) -> Problems:
    """Texts that cannot be set in this font and field; raises BadFont."""
    texts = filled.distinct
    letters = "".join(sorted(text.alphabet(texts)))
    strange = _with(texts, text.unshaped(letters))
    printed = [each for each in texts if each not in strange]
    missing = _with(printed, font.missing(letters))
    sound = [each for each in printed if each not in missing]
    if font_key(lettering) not in fonts.SHIPPED:
        font.subset(text.alphabet(sound))  # what cannot be cut cannot be printed
    large = _too_large(sound, lettering, font)
    problems = []
    if strange:
        facts = {"field": lettering.id, "script": _scripts(strange.values())}
        problems.append(_about("text_needs_shaping", filled, rows, strange, facts))
    if missing:
        facts = {"field": lettering.id, "font": font.name, "chars": _named(missing.values())}
        problems.append(_about("font_missing_glyph", filled, rows, missing, facts))
    if large:
        problems.append(_does_not_fit(filled, lettering, rows, large))
    return problems


def _with(texts: Sequence[str], letters: Sequence[str]) -> dict[str, set[str]]:
    """The texts that have some of these letters, and which."""
    wanted = set(letters)
    return {each: odd for each in texts if (odd := wanted.intersection(each))} if wanted else {}


def _too_large(texts: Sequence[str], lettering: TextField, font: Font) -> dict[str, TooLarge]:
    found = ((each, text.overflow(each, lettering, font)) for each in texts)
    return {each: large for each, large in found if large is not None}


def _does_not_fit(
    filled: Filled, lettering: TextField, rows: Sequence[Row], large: Mapping[str, TooLarge]
) -> Problem:
    """The worst one with its numbers, and all tables."""
    wide = max(large.values(), key=lambda each: each.width)
    high = max(large.values(), key=lambda each: each.height)
    facts: dict[str, object] = {"field": lettering.id, "size": wide.size, "lines": wide.lines}
    most = max(large.values(), key=lambda each: each.lines)
    if most.lines > lettering.max_lines:
        facts |= {
            "case": "lines",
            "text": most.text,
            "needed": most.lines,
            "most": lettering.max_lines,
        }
    elif wide.width > lettering.width:
        facts |= {
            "text": wide.text,
            "needed": round(wide.width + 0.05, 1),
            "width": lettering.width,
        }
    else:
        facts |= {
            "case": "height",
            "text": high.text,
            "needed": round(high.height + 0.05, 1),
            "height": lettering.height,
        }
    return _about("text_does_not_fit", filled, rows, large, facts)


def _about(
    code: str,
    filled: Filled,
    rows: Sequence[Row],
    texts: Iterable[str],
    facts: Mapping[str, object],
) -> Problem:
    tables = labels(filled, rows, texts)
    return Problem(code=code, path=f"{filled.path}.value", facts=facts, tables=tables)


def _font(key: tuple[str, str], path: str, assets: Mapping[str, bytes]) -> Font | Problem:
    name, weight = key
    if weight:
        if key in fonts.SHIPPED:
            return fonts.shipped(name, weight)
        near = difflib.get_close_matches(name, {family for family, _ in fonts.SHIPPED}, n=1)
        facts = {"font": name, "nearest": near[0] if near else ""}
        return Problem(code="font_unknown", path=path, facts=facts)
    if name not in assets:
        return Problem(code="asset_unknown", path=path, facts={"asset": name})
    try:
        font = fonts.uploaded(assets[name])
    except BadFont as error:
        return _unreadable(name, path, error)
    if font.embedding:
        facts = {"font": font.name, "reason": font.embedding}
        return Problem(code="font_no_embedding", path=path, facts=facts)
    return font


def _picture(found: Materials, asset: str, path: str, assets: Mapping[str, bytes]) -> Problems:
    if asset in found.pictures:
        return []
    if asset not in assets:
        return [Problem(code="asset_unknown", path=path, facts={"asset": asset})]
    try:
        found.pictures[asset] = images.read(assets[asset])
    except BadPicture as error:
        facts = {"asset": asset, "reason": str(error)}
        return [Problem(code="image_unreadable", path=path, facts=facts)]
    return []


def _unreadable(name: str, path: str, error: BadFont) -> Problem:
    return Problem(code="font_unreadable", path=path, facts={"font": name, "reason": str(error)})


def _named(chars: Iterable[Iterable[str]]) -> list[str]:
    """₸ U+20B8, for people who look it up."""
    several = sorted({char for group in chars for char in group})
    return [f"{char if char.isprintable() else '?'} U+{ord(char):04X}" for char in several]


def _scripts(chars: Iterable[Iterable[str]]) -> list[str]:
    """Names of scripts, as Unicode names its characters: Arabic, Hebrew, Thai."""
    several = {char for group in chars for char in group}
    words = {unicodedata.name(char, "other").split()[0].capitalize() for char in several}
    return sorted(words)
