"""Whether a code can be read once it is printed: size, contrast, capacity, logo, what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import urlsplit

from makeready.cards.examination import Examination
from makeready.cards.filling import Filled
from makeready.cards.modules import QUIET_ZONE, size_of
from makeready.cards.settings import Colour, QrField

MIN_CONTRAST = 0.45
"""Of brightness, 0 to 1; the verifier refuses less than 0.40 of what it measures."""
MIN_PAPER = 0.65
"""Brightness of what surrounds a code; white is 1."""
SCAN_RATIO = 10
"""How many times its width a code can be away."""
_INK_SHINE = 0.12
"""What black ink still reflects."""
_GAMMA, _WEIGHTS = 2.2, (0.2126, 0.7152, 0.0722)
"""How eyes and cameras add red, green and blue up."""
_ROUNDING_MM = 1e-6


def check_codes(exam: Examination) -> None:
    """Notes what keeps codes from being read."""
    for filled in exam.materials.filled:
        each, path = filled.field, filled.path
        if not isinstance(each, QrField):
            continue
        if each.quiet_zone < QUIET_ZONE:
            facts = {"modules": each.quiet_zone, "field": each.id}
            exam.note("qr_quiet_zone", f"{path}.quiet_zone", facts)
        if each.logo is not None and each.ecc != "H":
            facts = {"case": "ecc", "field": each.id, "ecc": each.ecc}
            exam.note("qr_logo", f"{path}.ecc", facts)
        _check_contrast(exam, path, each)
        _check_links(exam, path, each, filled.texts)
        code = exam.materials.batches.get(each.id)
        if code is not None and any(filled.texts):
            _check_size(exam, filled, each, code.version)


def brightness(colour: Colour) -> float:
    """From 0, black, to 1, white, roughly as a camera sees it."""
    parts = colour.parts
    match colour.space:
        case "black":
            return 0.0
        case "white":
            return 1.0
        case "gray":
            return parts[0]
        case "rgb":
            red, green, blue = parts
        case _:
            tint = colour.tint if colour.space == "spot" else 1.0
            cyan, magenta, yellow, black = (part * tint for part in parts)
            red, green, blue = ((1 - ink) * (1 - black) for ink in (cyan, magenta, yellow))
    light = sum(w * part**_GAMMA for w, part in zip(_WEIGHTS, (red, green, blue), strict=True))
    seen: float = light ** (1 / _GAMMA)
    return seen if colour.space == "rgb" else _INK_SHINE + (1 - _INK_SHINE) * seen


def _check_contrast(exam: Examination, path: str, each: QrField) -> None:
    if each.background is None:
        exam.note(
            "qr_contrast", f"{path}.background", {"case": "clear", "field": each.id},
            is_error=False,
        )  # fmt: skip
        return
    paper = brightness(each.background)
    gap = paper - brightness(each.color)
    if gap >= MIN_CONTRAST and paper < MIN_PAPER:
        facts = {
            "case": "paper",
            "field": each.id,
            "contrast": round(paper * 100),
            "needed": round(MIN_PAPER * 100),
        }
        exam.note("qr_contrast", f"{path}.background", facts)
    elif gap < MIN_CONTRAST:
        facts = {
            "case": "inverted" if gap <= -MIN_CONTRAST else "low",
            "field": each.id,
            "contrast": round(abs(gap) * 100),
            "needed": round(MIN_CONTRAST * 100),
        }
        exam.note("qr_contrast", f"{path}.color", facts)


def _check_links(exam: Examination, path: str, each: QrField, texts: Sequence[str | None]) -> None:
    if any(problem.path == f"{path}.value" for problem in exam.problems):
        return  # what could not be filled in is empty for a reason that is told already
    empty = "link_missing" if "table.url" in each.value else "value_empty"
    wrong: dict[str, list[int]] = {empty: [], "value_not_url": [], "value_not_ascii": []}
    for row, text in enumerate(texts):
        if text is None:
            continue
        if not text.strip():
            wrong[empty].append(row)
        elif not is_link(text):
            wrong["value_not_url"].append(row)
        elif not text.isascii():
            wrong["value_not_ascii"].append(row)
    for code, rows in wrong.items():
        if rows and not (exam.is_sample and "{row." in each.value):
            facts = {"field": each.id, "value": (texts[rows[0]] or "")[:80]}
            is_error = code != "value_not_ascii"
            exam.note(code, f"{path}.value", facts, rows=rows, is_error=is_error)


def is_link(text: str) -> bool:
    """True: a web address as phones open them."""
    if any(char.isspace() or not char.isprintable() for char in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that are not closed, a port that is no number
        return False


def _check_size(exam: Examination, filled: Filled, each: QrField, version: int) -> None:
    """All cards have the version of the longest link, so that link is the one to shorten."""
    modules = size_of(version)
    whole = modules + 2 * each.quiet_zone
    side = min(each.width, each.height)
    module = side / whole
    least, wanted = exam.settings.min_module_error_mm, exam.settings.min_module_mm
    is_error = module < least - _ROUNDING_MM
    if module < wanted - _ROUNDING_MM:
        facts = {
            "field": each.id,
            "version": version,
            "side": round(side, 1),
            "module": math.floor(module * 100) / 100,
            "needed": _up(whole * (least if is_error else wanted)),
        }
        code = "qr_too_small" if is_error else "qr_module_warn"
        longest = max(len(text) for text in filled.texts if text)
        rows = [row for row, text in enumerate(filled.texts) if text and len(text) == longest]
        exam.note(code, filled.path, facts, is_error=is_error, rows=rows)
    width, distance = module * modules, each.scan_distance_mm
    if distance and width < distance / SCAN_RATIO - _ROUNDING_MM:
        needed = _up(distance / SCAN_RATIO * whole / modules)
        facts = {"field": each.id, "side": round(width, 1), "distance": distance, "needed": needed}
        path = f"{filled.path}.scan_distance_mm"
        exam.note("qr_scan_distance", path, facts, is_error=False)


def _up(length: float) -> float:
    """To a tenth of a millimetre; who follows the hint must not be told off again."""
    return math.ceil(length * 10 - 1e-6) / 10
