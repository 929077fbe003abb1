"""The boxes of a page, as they are meant: inherited, swapped, one within the other."""

from __future__ import annotations

from typing import Any

from pikepdf import Array, Dictionary, Name

from makeready.cards.geometry import Box, common
from makeready.cards.problems import Problem

SIDE_LIMITS_PT = (3.0, 14_400.0)
_USER_UNITS = (0.001, 1000.0)
_ROUNDING_PT = 0.5  # a TrimBox this far outside is somebody's rounding
_DEPTH = 50


def inherited(node: Any, name: str) -> Any:
    """A page's own value, or that of the nearest node above it; else None."""
    for _ in range(_DEPTH):
        if not isinstance(node, Dictionary):
            break
        if name in node:
            return node[name]
        node = node.get(Name.Parent)
    return None


def upright(value: Any) -> Box | None:
    """A rectangle with its corners in order; None: it is none."""
    if not isinstance(value, Array) or len(value) != 4:
        return None
    sides = [number(side) for side in value]
    if None in sides:
        return None
    x0, y0, x1, y1 = (side for side in sides if side is not None)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def number(value: Any) -> float | None:
    """As a float; None: it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


class Boxes:
    """One page's boxes; what is wrong with them is in `problems`."""

    def __init__(self, page_number: int, page: Any) -> None:
        self._number = page_number
        self.problems: list[Problem] = []
        self.rotate = self._rotate(inherited(page, "/Rotate"))
        self.user_unit = self._user_unit(page.get(Name.UserUnit))
        self.media = self._media(inherited(page, "/MediaBox"))
        self.crop = self._within_media("CropBox", inherited(page, "/CropBox"), self.media)
        self.trim = self._trim(page.get(Name.TrimBox))
        self.bleed = self._within_media("BleedBox", page.get(Name.BleedBox), self.crop)

    def _bad(self, box: str, reason: str) -> None:
        facts = {"page": self._number, "box": box, "reason": reason}
        self.problems.append(Problem(code="template_bad_box", facts=facts))

    def _rotate(self, value: Any) -> int:
        degrees = number(0 if value is None else value)
        if degrees is None or degrees % 90:
            self._bad("Rotate", "no_right_angle")
            return 0
        return int(degrees) % 360

    def _user_unit(self, value: Any) -> float:
        unit = number(1 if value is None else value)
        least, most = _USER_UNITS
        if unit is None or not least <= unit <= most:
            self._bad("UserUnit", "not_numbers")
            return 1.0
        return unit

    def _media(self, value: Any) -> Box:
        return self._sound("MediaBox", upright(value)) or (0, 0, 1, 1)

    def _within_media(self, name: str, value: Any, default: Box) -> Box:
        if value is None:
            return default
        box = self._sound(name, upright(value))
        if box is None:
            return default
        cut = common(box, self.media)
        if cut is None:
            self._bad(name, "outside")
        return cut or default

    def _trim(self, value: Any) -> Box:
        if value is None:
            return self.crop
        found = len(self.problems)
        box = self._within_media("TrimBox", value, self.crop)
        meant = upright(value) or box
        if (
            len(self.problems) == found
            and max(abs(a - b) for a, b in zip(box, meant, strict=True)) > _ROUNDING_PT
        ):
            self._bad("TrimBox", "outside")
        return box

    def _sound(self, name: str, box: Box | None) -> Box | None:
        least, most = SIDE_LIMITS_PT
        if box is None:
            self._bad(name, "not_numbers")
        elif min(box[2] - box[0], box[3] - box[1]) < least:
            self._bad(name, "empty")
        elif max(box[2] - box[0], box[3] - box[1]) > most:
            self._bad(name, "huge")
        else:
            return box
        return None
