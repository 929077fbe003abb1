"""Print files, sheets and codes out of the stamping process.

Proves PSM-034.
"""

from __future__ import annotations

from dataclasses import replace

import pymupdf
import pytest

from makeready import stamping
from makeready.cards import program
from makeready.cards.press import Press
from makeready.cards.refusal import CardRefused
from makeready.stamping import CardsRefused, Look, Order, Sheet
from tests.support.card_templates import light, order_for, rows, settings_for


async def test_a_print_file_comes_from_the_stamping_process() -> None:
    order = order_for(light(), 3)
    made = await stamping.print_file(order, [0, 2])

    with pymupdf.open(stream=made, filetype="pdf") as document:
        assert ["№ 1" in document[0].get_text(), "№ 3" in document[1].get_text()] == [True] * 2
        assert document.page_count == 2
    assert await stamping.print_file(order, [0, 2], {0: b"another", 2: b"stamper"}) == made


def test_a_card_that_is_none_of_those_that_were_verified_is_looked_at_again() -> None:
    opened = Press.open(order_for(light(), 2))
    card = opened.stamp(0)
    spoiled = replace(card, tail=card.tail + b"%", sha256=bytes(32))

    with pytest.raises(CardRefused):
        program._verified(opened, {"0": card.sha256.hex()})(spoiled)
    program._verified(opened, {"0": bytes(32).hex()})(spoiled)
    program._verified(opened, {})(card)


async def test_sheets_come_from_the_stamping_process() -> None:
    sheet = Sheet(width=320, height=450, is_named=True, cols=4, rows=2)
    made = await stamping.sheets(order_for(light(), 9), range(9), sheet)

    with pymupdf.open(stream=made, filetype="pdf") as document:
        assert document.page_count == 2
    with pytest.raises(CardsRefused) as refused:
        await stamping.sheets(
            order_for(light(), 2), [0], Sheet(width=99, height=99, cols=1, rows=1)
        )
    assert [problem.code for problem in refused.value.problems] == ["sheet_too_small"]


async def test_codes_come_from_the_stamping_process_psm_034() -> None:
    links = [str(row["table"]["url"]) for row in rows(3)]
    made = await stamping.qr_files(links, "svg", Look(size_mm=25))

    assert [b"<svg" in file for file in made] == [True] * 3
    assert all(link.encode() in file for link, file in zip(links, made, strict=True))
    with pytest.raises(CardsRefused) as refused:
        await stamping.qr_files(["https://go.example.ru/" + "x" * 3000], "png")
    assert [problem.code for problem in refused.value.problems] == ["qr_capacity"]


async def test_an_order_that_cannot_be_printed_is_refused_with_its_findings() -> None:
    order = Order(pdf=light(), settings={**settings_for(), "fields": []}, rows=rows(1))
    with pytest.raises(CardsRefused):
        await stamping.print_file(order, [0])
