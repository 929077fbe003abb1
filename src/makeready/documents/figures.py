"""What templates put into SVG and CSS: ticks of axes, QR codes, quoted strings; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import segno
from markupsafe import Markup


def ticks(values: Iterable[Decimal | float], wanted: int = 5) -> list[float]:
    """Round numbers from zero to at least the largest value, about `wanted` steps apart."""
    top = max((float(value) for value in values), default=0.0)
    if top <= 0:
        return [0.0, 1.0]
    raw = top / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    return [round(step * index, 10) for index in range(math.ceil(top / step * 0.999) + 1)]


def days(first: str, last: str) -> int:
    """How many days lie between two ISO dates; negative when the last is the earlier one."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days


def mondays(first: str, last: str, most: int = 9) -> list[str]:
    """Mondays as ISO dates, evenly apart: from the last up to `first` to the first after `last`.

    At most `most` of them and two for the ends, so that a plan of years gets as many labels as
    one of weeks. Where the calendar ends, its last day stands for the Monday after it.
    """
    start = date.fromisoformat(first).toordinal()
    start -= (start - 1) % 7
    span = max(1, math.ceil((date.fromisoformat(last).toordinal() + 1 - start) / 7))
    weeks = 2 ** math.ceil(math.log2(max(1.0, span / most)))
    days_of = (start + 7 * weeks * index for index in range(math.ceil(span / weeks) + 1))
    return [date.fromordinal(min(day, date.max.toordinal())).isoformat() for day in days_of]


def qr(text: str) -> Markup:
    """A QR code of at most 2,000 bytes (correction M, no quiet zone) as SVG that fills its box."""
    if len(text.encode()) > 2000:
        raise ValueError("the text is too long for a QR code")
    code = segno.make(text, error="m", micro=False, encoding="utf-8")
    return Markup(code.svg_inline(border=0, omitsize=True, dark="#000"))  # noqa: S704


def css_string(text: str) -> Markup:
    """A CSS string literal that can't end its rule, nor the style element around it."""
    escaped = "".join(
        letter if letter.isalnum() or letter in " .,:;!?()-–—№·/" else f"\\{ord(letter):x} "
        for letter in str(text)
    )
    return Markup(f'"{escaped}"')  # noqa: S704
