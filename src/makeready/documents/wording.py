"""Numbers, money, dates and plurals as a Russian or an English reader expects them; pure.

Templates use these as filters. A number is grouped with a no-break space in Russian and a comma in
English, so that no line ends inside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from makeready.documents.numerals import LARGEST, english, russian, russian_form

LANGUAGES = ("ru", "en")

NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
BREAK = "\N{ZERO WIDTH SPACE}"

_CENT = Decimal("0.01")

_MONTHS_RU = [
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
]
_MONTHS_EN = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_SHORT_WORD_RU = re.compile(r"(?<![\w-])([а-яёА-ЯЁ]{1,2}|для|над|под|при|без|или) (?=\S)")
_DASH = re.compile(r" ([—–]) ")
_AFTER_NUMBER = re.compile(
    r"(\d) (?=(?:\d{3}\b|%|₽|руб|коп|г\.|год|шт|млн|млрд|тыс|мм|см|кг|км|л\.|экз|[а-я]{3,8}ря\b))"
)
_LONG_WORD = re.compile(r"[^\s-]{32,}")
_PIECE = re.compile(".{1,12}")
_LONE_LETTER = re.compile(r" (?=[А-ЯЁA-Z]\b(?!-))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """How one currency is written; forms are for 1, 2 and 5."""

    symbol: str
    whole_ru: tuple[str, str, str]
    cents_ru: tuple[str, str, str]
    whole_en: tuple[str, str]
    cents_en: tuple[str, str]


CURRENCIES = {
    "RUB": Currency(
        symbol="₽",
        whole_ru=("рубль", "рубля", "рублей"),
        cents_ru=("копейка", "копейки", "копеек"),
        whole_en=("rouble", "roubles"),
        cents_en=("kopeck", "kopecks"),
    ),
    "EUR": Currency(
        symbol="€",
        whole_ru=("евро", "евро", "евро"),
        cents_ru=("цент", "цента", "центов"),
        whole_en=("euro", "euros"),
        cents_en=("cent", "cents"),
    ),
    "USD": Currency(
        symbol="$",
        whole_ru=("доллар", "доллара", "долларов"),
        cents_ru=("цент", "цента", "центов"),
        whole_en=("dollar", "dollars"),
        cents_en=("cent", "cents"),
    ),
    "GBP": Currency(
        symbol="£",
        whole_ru=("фунт", "фунта", "фунтов"),
        cents_ru=("пенни", "пенса", "пенсов"),
        whole_en=("pound", "pounds"),
        cents_en=("penny", "pence"),
    ),
}


class Wording:
    """The rules of one language; raises ValueError for a language that is not in `LANGUAGES`."""

    def __init__(self, lang: str) -> None:
        if lang not in LANGUAGES:
            raise ValueError(f"no wording for the language {lang!r}, only {', '.join(LANGUAGES)}")
        self._russian = lang == "ru"

    def number(self, value: Decimal | float, digits: int | None = None) -> str:
        """Grouped digits: 12 345,6 or 12,345.6; `digits` after the point or as many as given."""
        exact = Decimal(str(value))
        if digits is not None:
            exact = exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
        elif exact == exact.to_integral_value():
            exact = exact.quantize(Decimal(1))
        text = f"{abs(exact):,f}"
        if self._russian:
            text = text.replace(".", "|").replace(",", NBSP).replace("|", ",")
        return (MINUS if exact < 0 else "") + text

    def money(self, value: Decimal | float, currency: str, digits: int = 2) -> str:
        """An amount with its symbol where the language wants it: 1 200,00 ₽, £1,200.00."""
        symbol = CURRENCIES[currency].symbol
        text = self.number(value, digits)
        if self._russian or currency == "RUB":
            return f"{text}{NBSP}{symbol}"
        sign = MINUS if text.startswith(MINUS) else ""
        return f"{sign}{symbol}{text.removeprefix(MINUS)}"

    def date(self, value: str, style: str = "long") -> str:
        """An ISO date: 22 ноября 2026 г., 22 November 2026; `short`: 22.11.2026, 22 Nov 2026."""
        day = date.fromisoformat(value)
        if self._russian:
            if style == "short":
                return f"{day:%d.%m.%Y}"
            return f"{day.day}{NBSP}{_MONTHS_RU[day.month - 1]} {day.year}{NBSP}г."
        month = _MONTHS_EN[day.month - 1]
        return f"{day.day}{NBSP}{month[:3] if style == 'short' else month} {day.year}"

    def plural(self, count: int, forms: list[str]) -> str:
        """The form that goes with a count: Russian has three (1, 2, 5), English two (1, 2)."""
        if self._russian:
            return russian_form(count, (forms[0], forms[1], forms[2]))
        return forms[0] if count == 1 else forms[-1]

    def in_words(self, value: Decimal | float, currency: str) -> str:
        """An amount in words, cents in digits: Сто двадцать рублей 50 копеек.

        From a trillion on, and below zero, all in digits.
        """
        exact = cents(value)
        if not 0 <= exact < LARGEST:
            return self.money(exact, currency)
        whole = int(exact)
        small = int((exact - whole) * 100)
        names = CURRENCIES[currency]
        if self._russian:
            words = f"{russian(whole)} {russian_form(whole, names.whole_ru)}"
            words += f" {small:02d}{NBSP}{russian_form(small, names.cents_ru)}"
        else:
            words = f"{english(whole)} {names.whole_en[whole != 1]}"
            words += f" and {small:02d}{NBSP}{names.cents_en[small != 1]}"
        return words[0].upper() + words[1:]

    def typo(self, text: str) -> str:
        """Running text with no-break spaces where a line must not end.

        A word that is longer than words are may be broken, so that no column is wider than paper.
        """
        text = _LONG_WORD.sub(lambda word: BREAK.join(_PIECE.findall(word[0])), text)
        text = _DASH.sub(NBSP + r"\1 ", text)
        if not self._russian:
            return text
        text = _SHORT_WORD_RU.sub(r"\1" + NBSP, text)
        text = _LONE_LETTER.sub(NBSP, text)
        return _AFTER_NUMBER.sub(r"\1" + NBSP, text)


def cents(value: Decimal | float) -> Decimal:
    """An amount rounded to hundredths, half away from zero: what a bill adds up."""
    return Decimal(str(value)).quantize(_CENT, ROUND_HALF_UP)


def groups(text: str) -> str:
    """A long code in groups of four, so that people can read it aloud."""
    return NBSP.join(text[at : at + 4] for at in range(0, len(text), 4))
