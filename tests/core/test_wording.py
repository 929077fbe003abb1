from __future__ import annotations

import pytest

from makeready.documents.shipped import document_type, sample
from makeready.documents.typesetting import build_html, check_data
from makeready.documents.wording import BREAK, MINUS, NBSP, Wording, cents, groups

RU, EN = Wording("ru"), Wording("en")


def plain(text: str) -> str:
    return text.replace(NBSP, " ").replace(MINUS, "-")


@pytest.mark.parametrize(
    ("value", "digits", "russian", "english"),
    [
        (1234567.5, 2, "1 234 567,50", "1,234,567.50"),
        (1234, None, "1 234", "1,234"),
        (0.5, None, "0,5", "0.5"),
        (12.0, None, "12", "12"),
        (-3.14159, 2, "-3,14", "-3.14"),
        (2.345, 2, "2,35", "2.35"),
        (0, 0, "0", "0"),
    ],
)
def test_numbers_are_grouped(value: float, digits: int | None, russian: str, english: str) -> None:
    assert plain(RU.number(value, digits)) == russian
    assert plain(EN.number(value, digits)) == english


def test_money_has_its_symbol_where_the_language_wants_it() -> None:
    assert plain(RU.money(1200, "RUB")) == "1 200,00 ₽"
    assert plain(RU.money(1200, "EUR")) == "1 200,00 €"
    assert plain(EN.money(1200, "GBP")) == "£1,200.00"
    assert plain(EN.money(-5, "EUR", 0)) == "-€5"
    assert plain(EN.money(5, "RUB")) == "5.00 ₽"


def test_dates_are_written_out_or_short() -> None:
    assert plain(RU.date("2026-11-22")) == "22 ноября 2026 г."
    assert RU.date("2026-11-02", "short") == "02.11.2026"
    assert plain(EN.date("2026-11-02")) == "2 November 2026"
    assert plain(EN.date("2026-11-02", "short")) == "2 Nov 2026"


@pytest.mark.parametrize(
    ("count", "form"),
    [(0, "листов"), (1, "лист"), (2, "листа"), (5, "листов"), (11, "листов"), (14, "листов"),
     (21, "лист"), (22, "листа"), (25, "листов"), (101, "лист"), (112, "листов")],
)  # fmt: skip
def test_russian_has_three_forms(count: int, form: str) -> None:
    assert RU.plural(count, ["лист", "листа", "листов"]) == form


def test_english_has_two_forms() -> None:
    assert [EN.plural(count, ["page", "pages"]) for count in (0, 1, 2)] == [
        "pages",
        "page",
        "pages",
    ]


@pytest.mark.parametrize(
    ("value", "russian", "english"),
    [
        (0, "Ноль рублей 00 копеек", "Zero roubles and 00 kopecks"),
        (1.01, "Один рубль 01 копейка", "One rouble and 01 kopeck"),
        (2, "Два рубля 00 копеек", "Two roubles and 00 kopecks"),
        (1000, "Одна тысяча рублей 00 копеек", "One thousand roubles and 00 kopecks"),
        (
            2022015.4,
            "Два миллиона двадцать две тысячи пятнадцать рублей 40 копеек",
            "Two million twenty-two thousand fifteen roubles and 40 kopecks",
        ),
        (
            311_000_000_119,
            "Триста одиннадцать миллиардов сто девятнадцать рублей 00 копеек",
            "Three hundred eleven billion one hundred nineteen roubles and 00 kopecks",
        ),
    ],
)
def test_amounts_in_words(value: float, russian: str, english: str) -> None:
    assert plain(RU.in_words(value, "RUB")) == russian
    assert plain(EN.in_words(value, "RUB")) == english


def test_amounts_that_have_no_words_are_digits() -> None:
    assert plain(RU.in_words(10**12, "RUB")) == plain(RU.money(10**12, "RUB"))
    for below_zero in (-1, -0.5):
        assert EN.in_words(below_zero, "GBP") == EN.money(below_zero, "GBP")
    largest = sample(document_type("invoice"), "en")
    largest["lines"][0] |= {"price": 10**9, "quantity": 10**6}
    check_data(document_type("invoice"), largest)
    assert "1,000,000,000,000" in build_html(document_type("invoice"), largest, "en").html


def test_russian_text_never_ends_a_line_after_a_preposition_or_inside_a_number() -> None:
    text = RU.typo("Печать в срок — 25 ноября, 10 000 листов, 5 % и лит. П для М. А. Ивановой")
    for glued in ("в_срок", "срок_—", "25_ноября", "10_000", "5_%", "и_лит", "лит._П", "для_М",
                  "М._А."):  # fmt: skip
        assert glued.replace("_", NBSP) in text
    assert EN.typo("a plan – done") == f"a plan{NBSP}– done"


def test_a_word_longer_than_words_are_may_be_broken() -> None:
    for wording in (RU, EN):
        assert wording.typo("x" * 31) == "x" * 31
        assert wording.typo("a " + "x" * 32) == f"a {'x' * 12}{BREAK}{'x' * 12}{BREAK}{'x' * 8}"
    long = "Сельскохозяйственно-машиностроительный"
    assert RU.typo(long) == long


def test_a_language_without_rules_is_refused() -> None:
    with pytest.raises(ValueError, match="'de'"):
        Wording("de")


def test_cents_round_half_up_and_codes_come_in_fours() -> None:
    assert str(cents(0.125)) == "0.13"
    assert groups("IE29AIBK93") == f"IE29{NBSP}AIBK{NBSP}93"
