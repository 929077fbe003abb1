"""Bad cards, each with one thing wrong: the verifier finds it, where reading the code does not."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from collections.abc import Callable
from typing import Any

import pymupdf
import pytest
import zxingcpp

from makeready.cards import sample
from makeready.cards.press import Card, Press
from makeready.cards.verify import CardRefused, Verifier
from tests.support.bad_cards import above, instead, remade, with_tail, within
from tests.support.card_templates import light, order_for, rows, turned

BOX = b"1 g\n26 46 53 53 re f"
"""The white square below the code."""
INK = b"re f\n0 g\n"
PT = 72 / 25.4
ONE_LETTER = b"q /F1 5 Tf BT 1 0 0 -1 30 112 Tm <0005> Tj ET Q"
INVERTED = b"re f\n0 g\n26 46 53 53 re f 1 g\n"
SYMBOL_MM = 33 * 53 / 41
CENTRE_MM = 26 + 53 / 2, 46 + 53 / 2


@functools.cache
def press(ecc: str = "M") -> Press:
    return Press.open(order_for(light(), 4, ecc=ecc, boost=False))


@functools.cache
def verifier(ecc: str = "M") -> Verifier:
    """Has seen a good card, as it has in the middle of a generation."""
    made = Verifier(press(ecc))
    made.check(press(ecc).stamp(0))
    return made


def by_phone(pdf: bytes, dpi: int = 150) -> str:
    """What a reader of no great patience reads off the first page, or off the code's field."""
    pymupdf.TOOLS.set_icc(False)  # as most viewers do
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        for clip in (None, (20 * PT, 40 * PT, 85 * PT, 105 * PT)):
            picture = document[0].get_pixmap(dpi=dpi, clip=clip, colorspace=pymupdf.csGRAY)
            pixels = memoryview(picture.samples_mv).cast("B", (picture.height, picture.stride))
            found = zxingcpp.read_barcode(
                pixels, try_rotate=False, try_downscale=False, try_invert=False
            )
            if found:
                break
    pymupdf.TOOLS.set_icc(True)
    return found.text if found else ""


def bad(change: Callable[[bytes], bytes], ecc: str = "M") -> Card:
    return remade(press(ecc), press(ecc).stamp(1), change)


def finding(card: Card, looks: Verifier | None = None) -> str:
    """The code with which a card is refused, warm, cold and as the first of its generation."""
    codes = set()
    for cold in (False, True):
        with pytest.raises(CardRefused) as caught:
            (looks or verifier()).check(card, cold)
        codes.add(caught.value.problem.code)
        assert caught.value.table == str(card.index + 1)
    (code,) = codes
    return code


def sticker(part: float) -> bytes:
    """A white square in the middle of the code that hides this part of it."""
    side = SYMBOL_MM * part**0.5
    x, y = (middle - side / 2 for middle in CENTRE_MM)
    return b"1 g %.4f %.4f %.4f %.4f re f" % (x, y, side, side)


def paper(gray: float) -> Callable[[bytes], bytes]:
    """No white square: the code stands on this."""
    return instead(BOX, b"%.3f g -10 -10 200 200 re f" % gray)


def quiet(modules: float) -> Callable[[bytes], bytes]:
    """The white square is only so much larger than the code, and all around is black."""
    side = (33 + 2 * modules) * 53 / 41
    x, y = (middle - side / 2 for middle in CENTRE_MM)
    box = b"0 g -10 -10 200 200 re f 1 g %.4f %.4f %.4f %.4f re f" % (x, y, side, side)
    return instead(BOX, box)


def lettering(operators: bytes) -> bytes:
    """The operators of the label."""
    return operators[operators.index(b"q\n0 g\nBT") :]


def code_only(operators: bytes) -> bytes:
    return operators[: operators.index(b"q\n0 g\nBT")]


DEFECTS: dict[str, tuple[Callable[[bytes], bytes], str, bool]] = {
    "black on 90 % dark": (paper(0.1), "card_code_contrast", True),
    "black on 75 % dark": (paper(0.25), "card_code_contrast", True),
    "black on 50 % dark": (paper(0.5), "card_code_quiet_zone", True),
    "yellow on white": (instead(INK, b"re f\n1 1 0 rg\n"), "card_code_contrast", True),
    "quiet zone of 2": (quiet(2), "card_code_quiet_zone", True),
    "quiet zone of 1": (quiet(1), "card_code_quiet_zone", True),
    "quiet zone of 0": (quiet(0), "card_code_quiet_zone", False),
    "sticker on 2 %": (above(sticker(0.02)), "card_code_damaged", True),
    "sticker on 5 %": (above(sticker(0.05)), "card_code_damaged", True),
    "turned by 90°": (within("0 1 -1 0 125 20"), "card_code_misplaced", True),
    "shifted by 0.3 mm": (within("1 0 0 1 0.3 0"), "card_code_misplaced", True),
    "shifted by 0.2 mm": (within("1 0 0 1 0 0.2"), "card_code_misplaced", True),
    "shifted by 5 mm": (within("1 0 0 1 5 0"), "card_code_misplaced", True),
    "shifted by 40 mm": (within("1 0 0 1 0 -40"), "card_code_misplaced", True),
    "smaller by 1 %": (within("0.99 0 0 0.99 0.525 0.725"), "card_code_misplaced", True),
    "half as big": (within("0.5 0 0 0.5 26.25 36.25"), "card_code_misplaced", True),
    "without a label": (code_only, "card_text_missing", True),
    "without a code": (lettering, "card_code_missing", False),
    "inverted": (
        instead(INK, b"re f\n0 g\n26 46 53 53 re f 1 g\n"),
        "card_code_unreadable",
        False,
    ),
    "empty": (lambda _: b"", "card_code_missing", False),
    "mirrored": (within("-1 0 0 1 105 0"), "card_code_misplaced", True),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_psm_026_a_bad_card_is_refused_though_its_code_may_be_read(name: str) -> None:
    change, code, is_read = DEFECTS[name]
    card = bad(change)
    assert finding(card) == code
    link = str(press().rows[1]["table"]["url"])
    assert (by_phone(press().whole(card)) == link) is is_read


@pytest.mark.parametrize("part", [0.1, 0.2])
def test_a_sticker_is_found_though_the_highest_level_mends_it(part: float) -> None:
    card = bad(above(sticker(part)), "H")
    assert finding(card, verifier("H")) == "card_code_damaged"
    assert by_phone(press("H").whole(card)) == press("H").rows[1]["table"]["url"]


def test_a_change_that_shows_nowhere_is_no_defect() -> None:
    assert verifier().check(bad(within("1 0 0 1 0 0")), cold=True)["texts"]


def moved_label(operators: bytes, matrix: str) -> bytes:
    return code_only(operators) + b"q %s cm " % matrix.encode() + lettering(operators) + b" Q"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda ops: moved_label(ops, "1 0 0 1 0 12"), "card_text_outside"),
        (lambda ops: moved_label(ops, "1 0 0 1 0 3.2"), "card_text_outside"),
        (lambda ops: moved_label(ops, "1 0 0 1 -30 0"), "card_text_outside"),
        (lambda ops: moved_label(ops, "1 0 0 1 300 0"), "card_text_missing"),
        (lambda ops: moved_label(ops, "3 0 0 3 -105 -222"), "card_text_outside"),
        (lambda ops: moved_label(ops, "0 1 -1 0 163 66"), "card_text_outside"),
        (instead(b"BT\n", b"BT\n3 Tr\n"), "card_text_invisible"),
        (lambda ops: ops + lettering(ops), "card_text_wrong"),
        (lambda ops: code_only(ops) + ONE_LETTER, "card_text_wrong"),
    ],
)  # fmt: skip
def test_psm_027_a_label_that_is_wrong_or_elsewhere_is_refused(
    change: Callable[[bytes], bytes], code: str
) -> None:
    card = bad(change)
    assert finding(card) == code
    assert by_phone(press().whole(card)) == press().rows[1]["table"]["url"]


def test_psm_026_the_code_or_the_label_of_another_table_is_refused() -> None:
    other = press().stamp(2).drawn.operators[1]
    assert finding(bad(lambda _: other)) == "card_code_wrong"
    assert finding(bad(lambda ops: code_only(other) + lettering(ops))) == "card_code_wrong"
    assert finding(bad(lambda ops: code_only(ops) + lettering(other))) == "card_text_wrong"


def test_psm_026_a_card_whose_row_says_something_else_is_refused() -> None:
    """Who stamps and who says what was stamped may be wrong in the same way."""
    moved = dataclasses.replace(press().stamp(1), index=2)
    assert finding(moved) == "card_code_wrong"
    data = [dict(row) for row in rows(4)]
    data[1] = {**data[1], "table": {**data[1]["table"], "url": "https://go.example.ru/t/other"}}
    other = Press.open(dataclasses.replace(order_for(light(), 4, boost=False), rows=data))
    assert len(other.prefix) == len(press().prefix)
    assert finding(dataclasses.replace(other.stamp(1))) == "card_code_wrong"


def test_a_damaged_or_truncated_file_is_refused() -> None:
    """PSM-028: a card is opened, never mended."""
    card = press().stamp(1)
    for cut in (1, 6, 20, 200, 1500, len(card.tail)):
        whole = with_tail(press(), card, card.tail[:-cut])
        if cut > 6:  # without the last line feed, or the end mark, nothing is lost
            assert finding(whole) == "card_damaged", cut
    assert finding(dataclasses.replace(card, tail=card.tail[:-20])) == "card_damaged"
    assert finding(dataclasses.replace(card, tail=press().stamp(2).tail)) == "card_damaged"
    other = Press.open(order_for(turned(), 4))
    assert finding(with_tail(press(), card, other.stamp(1).tail)) == "card_damaged"
    zeros = with_tail(press(), card, card.tail.replace(b"xref\n0", b"xref\n7", 1))
    assert finding(zeros) == "card_damaged"


def test_a_byte_that_flips_is_found_wherever_it_shows() -> None:
    """Of all cards that differ in a bit of the tail, only those pass that look the same."""
    card = press().stamp(1)
    good = shown(press().whole(card))
    chance = random.Random(26)
    passed = 0
    for _ in range(80):
        tail = bytearray(card.tail)
        tail[chance.randrange(len(tail))] ^= 1 << chance.randrange(8)
        changed = with_tail(press(), card, bytes(tail))
        try:
            verifier().check(changed, cold=False)
        except CardRefused:
            continue
        passed += 1
        assert shown(press().whole(changed)) == good
    assert passed < 40


def shown(pdf: bytes) -> bytes:
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        return bytes(document[0].get_pixmap(dpi=60).samples)


def test_psm_028_the_wrong_page_is_noticed() -> None:
    order = order_for(sample.template(), 3)
    code, label = order.settings["fields"]
    fields = [code, {**label, "pages": [2], "color": "white"}]
    made = Press.open(dataclasses.replace(order, settings={"schema": 1, "fields": fields}))
    looks, card = Verifier(made), made.stamp(1)
    assert looks.check(card)["texts"] == [{"field": "label", "page": 2, "text": "Стол № 2"}]
    front, back = card.drawn.operators[1], card.drawn.operators[2]
    swapped = remade(made, card, lambda operators: back if operators == front else front)
    assert finding(swapped, looks) == "card_code_missing"
    both = remade(made, card, lambda _: front)
    assert finding(both, looks) == "card_text_missing"


def test_psm_026_a_code_that_is_too_small_is_refused_however_well_it_scans() -> None:
    card = press().stamp(1)
    (code,) = card.drawn.codes
    for side, needed in ((8, True), (9.8, True), (10, False)):
        x, y = (middle - side / 2 for middle in CENTRE_MM)
        small = dataclasses.replace(code, box=(x, y, x + side, y + side))
        drawn = dataclasses.replace(card.drawn, codes=(small,))
        with pytest.raises(CardRefused) as caught:
            verifier().check(dataclasses.replace(card, drawn=drawn))
        assert (caught.value.problem.code == "card_code_too_small") is needed


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quiet_zone": 3.9}, "card_code_quiet_zone"),
        ({"box": (30, 51, 73, 94)}, "card_code_misplaced"),
        ({"covered": frozenset({(6, 16)})}, "card_code_damaged"),
        ({"covered": frozenset({(16, 16)})}, "card_code_damaged"),
        ({"field": "other"}, "card_code_missing"),
        ({"page": 2}, "card_code_missing"),
    ],
)
def test_what_is_said_of_a_card_is_not_believed(changes: dict[str, Any], code: str) -> None:
    card = press().stamp(1)
    codes = (dataclasses.replace(card.drawn.codes[0], **changes),)
    drawn = dataclasses.replace(card.drawn, codes=codes)
    assert finding(dataclasses.replace(card, drawn=drawn)) == code
    without = dataclasses.replace(card.drawn, texts=())
    assert finding(dataclasses.replace(card, drawn=without)) == "card_text_missing"
    twice = dataclasses.replace(card.drawn, codes=card.drawn.codes * 2)
    assert finding(dataclasses.replace(card, drawn=twice)) == "card_code_wrong"


def test_the_evidence_of_a_card_says_what_was_seen() -> None:
    seen = verifier().check(press().stamp(1), cold=False)
    assert json.loads(json.dumps(seen)) == seen
    (code,) = seen["codes"]
    assert code["decoded"] == press().rows[1]["table"]["url"]
    assert seen["decoded"] == [code["decoded"]]
    assert seen["contrast"] == 1.0
    assert seen["min_module_mm"] == pytest.approx(53 / 41, abs=1e-3)
    assert seen["position_error_mm"] < 0.06
    assert code["dpi"] == pytest.approx(4 * 25.4 / (53 / 41), abs=0.1)
    assert seen["texts"] == [{"field": "label", "page": 1, "text": "Стол № 2"}]
    assert seen["cold"] is False
    assert "pymupdf" in seen["verifier"]


def test_the_first_the_last_and_each_so_manieth_card_are_drawn_from_their_final_bytes() -> None:
    order = order_for(light(), 12)
    settings = {**order.settings, "verify": {"sample_cold_every": 5}}
    made = Press.open(dataclasses.replace(order, settings=settings))
    looks = Verifier(made)
    cold = []
    for index in (3, *range(12)):
        looks._is_cheap = False  # it is on a fast machine
        cold.append(looks.check(made.stamp(index))["cold"])
    assert [index for index, is_cold in zip((3, *range(12)), cold, strict=True) if is_cold] == [
        3, 0, 5, 10, 11,
    ]  # fmt: skip


def test_small_templates_are_always_drawn_whole() -> None:
    looks = Verifier(press())
    looks.check(press().stamp(0))
    looks._is_cheap = True
    assert looks.check(press().stamp(1))["cold"] is True
