"""Whether a code on a card is the right one, in its place, whole, dark enough, with room around.

Each finding is a `CardRefused` of its own. The size is judged by numbers: a raster of 300 dpi
reads what no phone does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import zxingcpp

from makeready.cards.drawing import PlacedCode
from makeready.cards.geometry import MM_PER_POINT, Box, Matrix, apply, chained
from makeready.cards.lattice import Lattice, Seen, area
from makeready.cards.modules import QUIET_ZONE
from makeready.cards.reading import QR_CODES, pixels
from makeready.cards.refusal import CardRefused
from makeready.cards.settings import QrField
from makeready.cards.sight import Raster

MIN_CONTRAST = 0.40
"""Of the range from black to white, as measured; ISO/IEC 15415 calls less than that poor."""
MIN_LIGHT = 0.60
"""Of white: what the quiet zone reaches everywhere."""
MAX_OFFSET_MM = 0.5 * MM_PER_POINT
"""How far from its place a code may be found."""
MAX_COVERED = 0.12
"""Part of a symbol that a logo may hide, its margin included."""
MAX_SHADE = 0.2
"""Of the contrast: how much darker than its light modules the quiet zone may be."""
_ROUNDING_MM = 0.01
_FORMAT = 9  # modules of a finder, its margin and the format next to it
_TIMING = 6  # the row and the column of the timing patterns


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePlace:
    """Where a field's codes lie on the rasters of one page."""

    lattice: Lattice
    corners: tuple[tuple[float, float], ...]
    """Of the modules, in pixels, clockwise from the top left one."""
    pixel_mm: float
    module_mm: float


def place_for(code: PlacedCode, turned: Matrix, displayed: Matrix, raster: Raster) -> CodePlace:
    """`turned` leads from unturned millimetres to those of the page, `displayed` to its points."""
    to_raster = chained(turned, raster.to_pixels(displayed))
    x0, y0, x1, y1 = code.box
    return CodePlace(
        lattice=Lattice(
            code,
            to_raster=to_raster,
            width=raster.picture.width,
            height=raster.picture.height,
        ),
        corners=tuple(apply(to_raster, x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))),
        pixel_mm=1 / math.hypot(to_raster[0], to_raster[1]),
        module_mm=(x1 - x0) / code.symbol.size,
    )


def check_numbers(code: PlacedCode, field: QrField, *, value: str, least_mm: float) -> None:
    """What can be judged without looking: text, size, quiet zone, field, logo."""
    size = code.symbol.size
    about = {"field": field.id, "page": code.page}
    if code.symbol.payload != value:
        raise CardRefused("card_code_wrong", {**about, "found": code.symbol.payload})
    module = (code.box[2] - code.box[0]) / size
    if module < least_mm - 1e-6:
        facts = {"module": round(module, 3), "needed": least_mm}
        raise CardRefused("card_code_too_small", {**about, **facts})
    if code.quiet_zone < QUIET_ZONE - 1e-6:
        raise CardRefused("card_code_quiet_zone", {**about, "modules": code.quiet_zone})
    excess = _outside(area(code), field)
    if excess > _ROUNDING_MM:
        raise CardRefused("card_code_misplaced", {**about, "offset": round(excess, 2)})
    if code.covered:
        _check_logo(code, about)


def check_raster(code: PlacedCode, place: CodePlace, raster: Raster) -> dict[str, Any]:
    """Reads a code and looks at each of its modules; the evidence."""
    samples = raster.samples
    about = {"field": code.field, "page": code.page}
    found = read(raster)
    seen = place.lattice.look(samples, code.symbol.rows)
    if found is None:
        raise _unread(code, seen, raster, about)
    if found.text != code.symbol.payload:
        raise CardRefused("card_code_wrong", {**about, "found": found.text})
    error = seen.offset * place.module_mm
    if seen.wrong:
        apart = place.pixel_mm * max(
            math.dist((corner.x, corner.y), wanted)
            for corner, wanted in zip(_corners(found), place.corners, strict=True)
        )
        if apart > MAX_OFFSET_MM + 2 * place.pixel_mm:
            raise CardRefused("card_code_misplaced", {**about, "offset": round(apart, 2)})
    elif seen.contrast >= MIN_CONTRAST and error > MAX_OFFSET_MM:
        raise CardRefused("card_code_misplaced", {**about, "offset": round(error, 2)})
    _check_seen(code, seen, about)
    return {
        "field": code.field,
        "page": code.page,
        "decoded": found.text,
        "dpi": round(raster.zoom * 72, 1),
        "contrast": round(seen.contrast, 3),
        "module_mm": round(place.module_mm, 4),
        "position_error_mm": round(error, 4),
    }


def read(raster: Raster, *, everywhere: bool = False) -> zxingcpp.Barcode | None:
    """The code of a raster, as a phone of little patience reads it."""
    return zxingcpp.read_barcode(
        pixels(raster.picture),
        formats=QR_CODES,
        try_rotate=everywhere,
        try_downscale=everywhere,
        try_invert=everywhere,
    )


def _check_seen(code: PlacedCode, seen: Seen, about: dict[str, Any]) -> None:
    if seen.wrong:
        raise CardRefused("card_code_damaged", {**about, "modules": seen.wrong})
    if seen.contrast < MIN_CONTRAST:
        facts = {"contrast": round(seen.contrast * 100), "needed": round(MIN_CONTRAST * 100)}
        raise CardRefused("card_code_contrast", {**about, **facts})
    shade = (seen.darkest_light - seen.quiet_zone) / 255 / seen.contrast
    if seen.quiet_zone < MIN_LIGHT * 255 or shade > MAX_SHADE:
        raise CardRefused("card_code_quiet_zone", {**about, "modules": code.quiet_zone})


def _unread(code: PlacedCode, seen: Seen, raster: Raster, about: dict[str, Any]) -> CardRefused:
    """Why a code could not be read, as far as that can be told."""
    if seen.wrong < code.symbol.size:
        try:
            _check_seen(code, seen, about)
        except CardRefused as refusal:
            return refusal
    found = read(raster, everywhere=True)
    case = "inverted" if found is not None and found.text == code.symbol.payload else "none"
    return CardRefused("card_code_unreadable", {**about, "case": case})


def _check_logo(code: PlacedCode, about: dict[str, Any]) -> None:
    size = code.symbol.size
    far = size - _FORMAT + 1
    on_patterns = any(
        _TIMING in {row, column}
        or (row < _FORMAT and (column < _FORMAT or column >= far))
        or (row >= far and column < _FORMAT)
        for row, column in code.covered
    )
    part = len(code.covered) / size**2
    if on_patterns or part > MAX_COVERED or code.symbol.level != "H":
        facts = {"covered": round(part * 100, 1), "most": round(MAX_COVERED * 100)}
        raise CardRefused("card_code_damaged", {**about, "case": "logo", **facts})


def _outside(box: Box, field: QrField) -> float:
    """How far a box reaches beyond the field."""
    right, bottom = field.x + field.width, field.y + field.height
    return max(field.x - box[0], field.y - box[1], box[2] - right, box[3] - bottom, 0)


def _corners(found: zxingcpp.Barcode) -> tuple[Any, ...]:
    where = found.position
    return where.top_left, where.top_right, where.bottom_right, where.bottom_left
