"""Whether fields lie where they can be printed: on their pages, apart, below nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from makeready.cards.examination import Examination
from makeready.cards.geometry import Box, Frame, common, frame, inverse, moved
from makeready.cards.schema import MAX_PAGES
from makeready.cards.settings import Field, ImageField, QrField, TextField, page_numbers
from makeready.cards.template import PageFacts

Shape: TypeAlias = tuple[tuple[float, float], ...]
"""Corners of a turned box, in order, in millimetres."""

CUT_MM = 3.0
"""Nearer to the trim edge a code may be cut: a stack of paper shifts under the knife."""
_ROUNDING_MM = 0.05


def check_places(exam: Examination) -> None:
    """Notes fields that lie beyond their page, meet each other or lie below something."""
    count = len(exam.facts.pages)
    on: dict[int, list[int]] = {}
    for place, each in enumerate(exam.settings.fields):
        _check_pages(exam, place, each)
        for number in page_numbers(each.pages, count):
            on.setdefault(number, []).append(place)
    if len(on) > MAX_PAGES:
        facts = {"pages": len(on), "most": MAX_PAGES}
        exam.note("field_too_many_pages", "fields", facts)
        return
    met: set[tuple[int, int]] = set()
    for number, places in sorted(on.items()):
        page = exam.facts.pages[number - 1]
        view = _View(page, frame(page, exam.settings.origin))
        for place in places:
            view.check_edges(exam, place)
            view.check_above(exam, place)
        for one, other in _pairs(exam, places):
            if (one, other) not in met and _check_pair(exam, one, other, number):
                met.add((one, other))


def code_box(each: QrField) -> Box:
    """The square of a code with its quiet zone, before rotation."""
    side = min(each.width, each.height)
    across, down = each.width - side, each.height - side
    x = each.x + {"left": 0, "center": across / 2, "right": across}[each.align]
    y = each.y + {"top": 0, "middle": down / 2, "bottom": down}[each.valign]
    return x, y, x + side, y + side


def shape(each: Field) -> Shape:
    """What a field covers: turned clockwise about its centre."""
    x0, y0, x1, y1 = code_box(each) if isinstance(each, QrField) else _box(each)
    middle_x, middle_y = each.x + each.width / 2, each.y + each.height / 2
    angle = math.radians(each.rotate)
    cos, sin = math.cos(angle), math.sin(angle)
    return tuple(
        (
            middle_x + (x - middle_x) * cos - (y - middle_y) * sin,
            middle_y + (x - middle_x) * sin + (y - middle_y) * cos,
        )
        for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    )


def meet(one: Shape, other: Shape) -> bool:
    """True: the two share more than an edge. No straight line passes between them."""
    for shape_ in (one, other):
        for (x0, y0), (x1, y1) in zip(shape_, shape_[1:] + shape_[:1], strict=True):
            length = math.hypot(x1 - x0, y1 - y0) or 1
            nx, ny = (y1 - y0) / length, (x0 - x1) / length
            ours = [x * nx + y * ny for x, y in one]
            theirs = [x * nx + y * ny for x, y in other]
            if min(max(ours), max(theirs)) - max(min(ours), min(theirs)) <= _ROUNDING_MM:
                return False
    return True


def _box(each: Field) -> Box:
    return each.x, each.y, each.x + each.width, each.y + each.height


def _check_pages(exam: Examination, place: int, each: Field) -> None:
    count = len(exam.facts.pages)
    path = f"fields[{place}].pages"
    if not isinstance(each.pages, str):
        for page in each.pages:
            if not 1 <= (page + count + 1 if page < 0 else page) <= count:
                case = "one" if count == 1 else "several"
                facts = {"case": case, "page": page, "pages": count}
                exam.note("field_page_missing", path, facts)
    elif not page_numbers(each.pages, count):
        exam.note("field_page_missing", path, {"case": "none"})


class _View:
    """One page in millimetres from its origin."""

    def __init__(self, page: PageFacts, view: Frame) -> None:
        to_mm = inverse(view.matrix)
        self._number = page.number
        self._trim = common(moved(page.trim, to_mm), view.media) or view.media
        self._bleed = common(view.bleed, view.media) or view.media
        self._edge = "trim" if page.trim != page.crop else "page"
        self._above = [(kind, moved(box, to_mm)) for kind, box in page.annotations]

    def check_edges(self, exam: Examination, place: int) -> None:
        each = exam.settings.fields[place]
        covered = _around(shape(each))
        side, excess = _excess(covered, self._trim)
        facts = {"field": each.id, "side": side, "edge": side, "page": self._number}
        path = f"fields[{place}]"
        if isinstance(each, QrField) and excess <= _ROUNDING_MM:
            if -excess < CUT_MM - _ROUNDING_MM:
                facts |= {"case": "margin", "left": round(-excess, 2), "wanted": CUT_MM}
                exam.note("field_outside_page", path, facts, is_error=False)
        elif isinstance(each, QrField):
            facts |= {"excess": _mm(excess), "box": self._edge}
            exam.note("field_outside_page", path, facts)
        elif excess > _ROUNDING_MM:
            self._check_bleed(exam, place, covered, facts | {"excess": _mm(excess)})

    def _check_bleed(
        self, exam: Examination, place: int, covered: Box, facts: dict[str, object]
    ) -> None:
        """What is cut off may be meant so, what is beyond the bleed may not."""
        side, excess = _excess(covered, self._bleed)
        if excess > _ROUNDING_MM:
            box = "bleed" if self._bleed != self._trim else self._edge
            facts |= {"side": side, "excess": _mm(excess), "box": box}
            exam.note("field_outside_page", f"fields[{place}]", facts)
        else:
            facts |= {"case": "bleed"}
            exam.note("field_outside_page", f"fields[{place}]", facts, is_error=False)

    def check_above(self, exam: Examination, place: int) -> None:
        each = exam.settings.fields[place]
        for kind, (x0, y0, x1, y1) in self._above:
            if meet(shape(each), ((x0, y0), (x1, y0), (x1, y1), (x0, y1))):
                facts = {"field": each.id, "kind": kind, "page": self._number}
                exam.note("field_over_annotation", f"fields[{place}]", facts)
                return


def _pairs(exam: Examination, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Fields that some card has both of."""
    for one, other in itertools.combinations(places, 2):
        both = zip(
            exam.materials.filled[one].texts, exam.materials.filled[other].texts, strict=True
        )
        if any(first is not None and second is not None for first, second in both):
            yield one, other


def _check_pair(exam: Examination, one: int, other: int, page: int) -> bool:
    """The later field is drawn above the earlier one."""
    fields = exam.settings.fields
    below, above = fields[one], fields[other]
    if not meet(shape(below), shape(above)):
        return False
    code, second = (below, above) if isinstance(below, QrField) else (above, below)
    facts = {"field": code.id, "other": second.id, "page": page}
    if isinstance(code, QrField):
        is_on_picture = isinstance(below, ImageField) and code.background is not None
        if not is_on_picture:
            exam.note("field_overlap", f"fields[{other}]", facts | {"case": "qr"})
            return True
    elif isinstance(below, TextField):
        facts = {"field": above.id, "other": below.id, "page": page}
        exam.note("field_overlap", f"fields[{other}]", facts, is_error=False)
        return True
    return False


def _around(corners: Shape) -> Box:
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _excess(inner: Box, outer: Box) -> tuple[str, float]:
    """The side where it sticks out most, and how far; below zero: how far it is inside."""
    sides = {
        "left": outer[0] - inner[0],
        "right": inner[2] - outer[2],
        "top": outer[1] - inner[1],
        "bottom": inner[3] - outer[3],
    }
    worst = max(sides, key=lambda side: sides[side])
    return worst, sides[worst]


def _mm(length: float) -> float:
    """Of a fault: never rounded to nothing."""
    return max(round(length, 1), 0.1)
