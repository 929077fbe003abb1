"""Whole numbers in words, Russian and English, and the three forms of a Russian noun; pure."""

from __future__ import annotations

LARGEST = 10**12  # words end below a trillion

_UNITS_RU = [
    "ноль",
    "один",
    "два",
    "три",
    "четыре",
    "пять",
    "шесть",
    "семь",
    "восемь",
    "девять",
    "десять",
    "одиннадцать",
    "двенадцать",
    "тринадцать",
    "четырнадцать",
    "пятнадцать",
    "шестнадцать",
    "семнадцать",
    "восемнадцать",
    "девятнадцать",
]
_TENS_RU = [
    "-",
    "-",
    "двадцать",
    "тридцать",
    "сорок",
    "пятьдесят",
    "шестьдесят",
    "семьдесят",
    "восемьдесят",
    "девяносто",
]
_HUNDREDS_RU = [
    "-",
    "сто",
    "двести",
    "триста",
    "четыреста",
    "пятьсот",
    "шестьсот",
    "семьсот",
    "восемьсот",
    "девятьсот",
]
_SCALES_RU = (
    ("миллиард", "миллиарда", "миллиардов"),
    ("миллион", "миллиона", "миллионов"),
    ("тысяча", "тысячи", "тысяч"),
)
_UNITS_EN = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS_EN = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES_EN = ("billion", "million", "thousand")


def russian_form(count: int, forms: tuple[str, str, str]) -> str:
    """The form that goes with a count; forms are those for 1, 2 and 5."""
    tail = abs(count) % 100
    if 10 < tail < 20:
        return forms[2]
    last = tail % 10
    if last == 1:
        return forms[0]
    return forms[1] if 1 < last < 5 else forms[2]


def russian(number: int) -> str:
    """The number in Russian words, masculine; from 0 to below `LARGEST`."""
    if number == 0:
        return _UNITS_RU[0]
    words = []
    for power, forms in zip((3, 2, 1), _SCALES_RU, strict=True):
        part = number // 1000**power % 1000
        if part:
            words += [*_below_thousand_ru(part, feminine=power == 1), russian_form(part, forms)]
    return " ".join([*words, *_below_thousand_ru(number % 1000, feminine=False)])


def _below_thousand_ru(number: int, *, feminine: bool) -> list[str]:
    words = [_HUNDREDS_RU[number // 100]] if number >= 100 else []
    rest = number % 100
    if rest >= 20:
        words.append(_TENS_RU[rest // 10])
        rest %= 10
    if rest:
        unit = _UNITS_RU[rest]
        words.append({"один": "одна", "два": "две"}.get(unit, unit) if feminine else unit)
    return words


def english(number: int) -> str:
    """The number in English words; from 0 to below `LARGEST`."""
    if number == 0:
        return _UNITS_EN[0]
    words = []
    for power, scale in zip((3, 2, 1), _SCALES_EN, strict=True):
        part = number // 1000**power % 1000
        if part:
            words += [*_below_thousand_en(part), scale]
    return " ".join([*words, *_below_thousand_en(number % 1000)])


def _below_thousand_en(number: int) -> list[str]:
    words = [_UNITS_EN[number // 100], "hundred"] if number >= 100 else []
    rest = number % 100
    if rest >= 20:
        ten, unit = _TENS_EN[rest // 10], rest % 10
        words.append(f"{ten}-{_UNITS_EN[unit]}" if unit else ten)
    elif rest:
        words.append(_UNITS_EN[rest])
    return words
