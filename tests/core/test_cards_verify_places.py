"""Good cards pass, however their pages and fields lie, and whatever lies below."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pymupdf
import pytest
from pikepdf import Array, Dictionary, Name, Pdf

from makeready.cards import fonts, sample, sight
from makeready.cards.press import Order, Press
from makeready.cards.verify import CardRefused, Verifier
from tests.support.bad_cards import remade, within
from tests.support.card_templates import light, order_for, rows, settings_for, turned
from tests.support.card_zoo import plain

PT = 72 / 25.4
RED = {"cmyk": [0, 0.9, 0.9, 0]}
LABEL = settings_for()["fields"][1]


def press(pdf: bytes, fields: list[dict[str, Any]], count: int = 3, **more: Any) -> Press:
    settings = {"schema": 1, "fields": fields, **more}
    return Press.open(Order(pdf=pdf, settings=settings, rows=rows(count)))


def code(name: str, x: float, y: float, side: float, **more: Any) -> dict[str, Any]:
    place = {"x": x, "y": y, "width": side, "height": side}
    return {"id": name, "kind": "qr", "pages": [1], "value": "{table.url}", **place, **more}


def looked_at(made: Press) -> dict[str, Any]:
    """All cards pass, drawn alone and whole; the evidence of the last."""
    looks = Verifier(made)
    seen: dict[str, Any] = {}
    for index, cold in itertools.product(range(len(made.rows)), (False, True)):
        seen = looks.check(made.stamp(index), cold)
        assert seen["position_error_mm"] < 0.09
    return seen


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("unit", [0.5, 1, 2.5])
def test_psm_028_turned_and_scaled_pages_are_seen_right(rotate: int, unit: float) -> None:
    wide, high = (148, 105) if rotate % 180 else (105, 148)
    x, y, margin = -40.0, 25.0, 9 / unit
    trim = [x, y, x + wide * PT / unit, y + high * PT / unit]
    media = [trim[0] - margin, trim[1] - 2 * margin, trim[2] + 3 * margin, trim[3] + margin]
    pdf = plain(
        b"0.8 0.9 1 rg -999 -999 2999 2999 re f",
        media=media,
        page={"/TrimBox": trim, "/Rotate": rotate, "/UserUnit": unit},
    )
    seen = looked_at(Press.open(order_for(pdf, 2)))
    assert seen["texts"] == [{"field": "label", "page": 1, "text": "Стол № 2"}]


@pytest.mark.parametrize("pdf", [light(), turned()], ids=["light", "turned"])
def test_psm_026_turned_fields_are_seen_right(pdf: bytes) -> None:
    """PSM-027: text too."""
    for angle in (0, 30, 90, 133, 270):
        fields = [
            code("qr", 30, 40, 45, rotate=angle),
            {**LABEL, "x": 15, "y": 112, "width": 34, "height": 9, "rotate": angle, "size": 12},
        ]
        made = press(pdf, fields, 2)
        looked_at(made)
        for wrong in (within("1 0 0 1 0.3 0"), within("0 1 -1 0 115 10")):
            bad = remade(made, made.stamp(1), wrong)
            with pytest.raises(CardRefused):
                Verifier(made).check(bad)


def test_psm_028_several_codes_and_pages_pass_each_by_itself() -> None:
    fields = [
        code("front", 5, 5, 30),
        code("small", 60, 5, 20, ecc="H"),
        code("both", 40, 60, 25, pages="all", value="{table.url}?from=card", ecc="L"),
        {**LABEL, "pages": "all", "color": RED},
        {**LABEL, "id": "lines", "x": 5, "y": 120, "height": 20, "size": 9, "max_lines": 3,
         "value": "{restaurant.name}, {table.section}, стол № {table.number}, мест: {table.seats}",
         "letter_spacing": 0.4, "color": RED, "width": 40, "case": "upper"},
        {**LABEL, "id": "never", "y": 100, "height": 5, "size": 9, "if": "{restaurant.logo}"},
    ]  # fmt: skip
    seen = looked_at(press(sample.template(), fields))
    assert [(each["field"], each["page"]) for each in seen["codes"]] == [
        ("front", 1), ("small", 1), ("both", 1), ("both", 2),
    ]  # fmt: skip
    assert len(seen["decoded"]) == 2
    assert [each["field"] for each in seen["texts"]] == ["label", "lines", "label"]


def test_codes_of_versions_that_differ_have_places_of_their_own() -> None:
    order = order_for(light(), 3)
    longer = "https://go.example.ru/t/" + "long/" * 20
    data = [{**row, "table": {**row["table"], "url": longer if n == 1 else row["table"]["url"]}}
            for n, row in enumerate(order.rows)]  # fmt: skip
    made = Press.open(dataclasses.replace(order, rows=data))
    assert looked_at(made)["min_module_mm"] < 1


def test_psm_026_small_modules_are_looked_at_more_closely() -> None:
    seen = looked_at(press(light(), [code("qr", 30, 30, 13)]))
    assert seen["min_module_mm"] < 0.33
    assert seen["codes"][0]["dpi"] > 290


def test_a_page_that_mixes_its_inks_in_a_group_is_always_drawn_whole() -> None:
    """What a stamp shows alone is not what the page shows: then the page is what counts."""
    looks = Verifier(made := Press.open(order_for(light(), 4)))
    over = sight.over

    def darker(below: sight.Raster, stamp: Any) -> sight.Raster:
        shown = over(below, stamp)
        shown.picture.tint_with(0x000000, 0xE0E0E0)
        return shown

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sight, "over", darker)
        assert looks.check(made.stamp(0))["cold"]
        assert looks.check(made.stamp(1), cold=False)["cold"]
    assert not looks._is_layered


def test_what_lies_above_a_code_is_seen_in_the_whole_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PSM-026: checks refuse such a template; the verifier would, too."""

    def with_note(document: Pdf, page: Any) -> None:
        look = document.make_stream(b"1 0 0 rg 0 0 40 40 re f")
        look.Type, look.Subtype = Name.XObject, Name.Form
        look.BBox = Array([0, 0, 40, 40])
        note = Dictionary(
            Type=Name.Annot, Subtype=Name.Stamp, F=4, AP=Dictionary(N=look),
            Rect=Array([130, 190, 144, 204]),
        )  # fmt: skip
        page.Annots = Array([document.make_indirect(note)])

    monkeypatch.setattr("makeready.cards.press.problems", lambda *_: [])
    made = Press.open(order_for(plain(change=with_note), 2))
    for cold in (False, True):
        with pytest.raises(CardRefused) as caught:
            Verifier(made).check(made.stamp(1), cold)
        assert caught.value.problem.code == "card_code_damaged"


def test_a_text_of_the_colour_of_its_ground_is_refused() -> None:
    made = press(plain(b"0.85 g 0 0 999 999 re f"), [{**LABEL, "color": {"gray": 0.8}}])
    with pytest.raises(CardRefused) as caught:
        Verifier(made).check(made.stamp(0))
    assert caught.value.problem.code == "card_text_invisible"


def test_a_code_without_a_background_is_judged_by_what_shines_through() -> None:
    for gray, refused in ((0.95, False), (0.5, True), (0.2, True)):
        pdf = plain(b"%f g 0 0 999 999 re f" % gray)
        made = press(pdf, [code("qr", 20, 20, 50, background=None)])
        try:
            Verifier(made).check(made.stamp(1))
            assert not refused
        except CardRefused:
            assert refused


def test_the_documents_that_are_looked_at_may_go() -> None:
    with pymupdf.open() as document:
        document.new_page()
        opened = sight.opened(bytes(document.tobytes()))
    assert sight.pages(opened) == 1


def test_psm_027_letters_that_look_other_than_they_read_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file says Стол of glyphs that show Слот: whoever copies the text does not notice."""
    subset = fonts.Font.subset

    def mixed(self: fonts.Font, chars: Any) -> fonts.Subset:
        cut = subset(self, chars)
        codes = {**cut.codes, "т": cut.codes["л"], "л": cut.codes["т"]}
        return dataclasses.replace(cut, codes=codes)

    monkeypatch.setattr(fonts.Font, "subset", mixed)
    made = Press.open(order_for(light(), 2))
    with pytest.raises(CardRefused) as caught:
        Verifier(made).check(made.stamp(0))
    facts = caught.value.problem.facts
    assert (caught.value.problem.code, facts["case"]) == ("card_text_wrong", "shapes")
    assert set(facts["found"]) == {"т", "л"}
