"""The stamping process as others ask it: hostile files, crashes, deadlines, presses."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pymupdf
import pytest

from makeready import stamping
from makeready.aside import Helper
from makeready.cards import wording
from makeready.stamping import (
    CardsRefused,
    HelperLost,
    StampingFailed,
    StampingTimeout,
    facts_json,
    facts_of,
)
from tests.support.card_templates import heavy, light, order_for, rows, settings_for
from tests.support.waiting import until

PNG = b"\x89PNG"
DEAD = "raise SystemExit(3)"
SLOW = "import time; time.sleep(60)"
HELPER = """
from makeready.aside import packed, serve
def answer(question):
    {body}
serve(answer)
"""


@pytest.fixture(autouse=True)
async def _cold() -> AsyncIterator[None]:
    """No test finds the warm helper of another."""
    await stamping.cool_down()
    yield
    await stamping.cool_down()


def programmed(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Helpers run this for each question; those that single questions share are new."""
    program = body if body in {DEAD, SLOW} else HELPER.format(body=body)
    helpers = {is_long: Helper(program) for is_long in (False, True)}
    monkeypatch.setattr(stamping, "_PROGRAM", program)
    monkeypatch.setattr(stamping, "_helper", helpers.__getitem__)


async def test_what_is_known_of_a_template_survives_its_way_through_json() -> None:
    facts = await stamping.inspect(heavy())
    assert facts.sha256 == hashlib.sha256(heavy()).hexdigest()
    assert len(facts.pages) == 2
    assert facts_of(facts_json(facts)) == facts


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "template_empty"),
        (b"<html><h1>no</h1></html>", "template_not_pdf"),
        (b"%PDF-1.7\n" + b"\xff" * 5000, "template_damaged"),
        (b"%PDF-1.7\n" + b"1 0 obj\n[" * 20_000, "template_damaged"),
        (light()[: len(light()) // 2], "template_damaged"),
    ],
)
async def test_a_file_that_is_no_template_is_refused_with_its_code(body: bytes, code: str) -> None:
    with pytest.raises(CardsRefused) as raised:
        await stamping.inspect(body)
    assert code in [problem.code for problem in raised.value.problems]


@pytest.mark.parametrize("body", [DEAD, "raise SystemExit(3)  # in the middle"])
async def test_a_template_that_kills_the_process_is_a_damaged_template(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    programmed(monkeypatch, body)
    with pytest.raises(CardsRefused) as raised:
        await stamping.inspect(light())
    (problem,) = raised.value.problems
    assert (problem.code, problem.facts["case"]) == ("template_damaged", "helper_lost")
    with pytest.raises(CardsRefused):
        await stamping.inspect_asset(PNG)


async def test_a_template_that_takes_too_long_is_a_damaged_template(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programmed(monkeypatch, SLOW)
    monkeypatch.setattr(stamping, "QUICK_TIMEOUT_S", 0.2)
    with pytest.raises(CardsRefused) as raised:
        await stamping.inspect(light())
    assert "за 30 секунд" in wording.text(raised.value.problems[0], "ru")[0]
    with pytest.raises(StampingTimeout, match="preview_pdf"):
        await stamping.preview_pdf(order_for(light()))


async def test_what_nobody_foresaw_is_a_failure_of_that_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programmed(monkeypatch, "return packed({'failure': 'ValueError: so'})")
    with pytest.raises(StampingFailed, match="ValueError: so"):
        await stamping.page_image(light())


async def test_a_crash_of_one_question_is_none_of_the_next() -> None:
    with pytest.raises(StampingFailed):
        await stamping.page_image(light(), dpi=1e9)
    assert (await stamping.page_image(light())).startswith(PNG)
    process = stamping._helper(False)._process
    assert process is not None
    process.kill()
    await until(lambda: process.poll() is not None, what="its end")
    assert (await stamping.page_image(light())).startswith(PNG)


async def test_all_problems_come_at_once() -> None:
    facts = await stamping.inspect(light())
    assert await stamping.problems(facts, settings_for(), rows(3)) == []
    found = await stamping.problems(facts, settings_for(width=8, height=8, quiet_zone=1), rows(3))
    codes = {problem.code for problem in found if problem.is_error}
    assert codes >= {"qr_too_small", "qr_quiet_zone"}
    (problem,) = await stamping.problems(facts, ["no settings"], rows(1))
    assert problem.code == "settings_schema"


async def test_a_preview_is_a_card_that_passes_psm_036() -> None:
    order = order_for(light(), 3)
    pdf, evidence = await stamping.preview_pdf(order, 2)
    with pymupdf.open("pdf", pdf) as document:
        assert "Стол № 3" in document[0].get_text()
    assert str(order.rows[2]["table"]["url"]) in str(evidence)
    assert (await stamping.preview_png(order, 2, grid=True)).startswith(PNG)


async def test_only_what_follows_the_prefix_comes_from_a_press_psm_029() -> None:
    order = order_for(heavy(), 4, pages=(1, 2))
    async with stamping.press(order) as press, stamping.press(order) as other:
        assert press.stamper == await stamping.version()
        assert press.prefix == other.prefix
        assert await press.prove(0) >= 1
        cards = [*await press.stamp(0, 3), *await press.stamp(3, 4)]
        assert cards == await other.stamp(0, 4)
    assert [card.index for card in cards] == [0, 1, 2, 3]
    for card in cards:
        whole = press.prefix + card.tail
        assert len(card.tail) < 20_000 < len(whole)
        assert (len(whole), zlib.crc32(whole)) == (card.byte_count, card.crc32)
        assert hashlib.sha256(whole).digest() == card.sha256
        assert card.evidence


@pytest.mark.parametrize("is_over", [True, False], ids=["seen dead", "seen dying"])
async def test_a_press_that_was_killed_is_opened_again_and_goes_on(*, is_over: bool) -> None:
    async with stamping.press(order_for(light(), 4)) as press:
        first = await press.stamp(0, 2)
        assert press._helper._process is not None
        press._helper._process.kill()
        if is_over:
            press._helper._process.wait(10)
        assert (await press.stamp(0, 4))[:2] == first
        process = press._helper._process
        assert process.poll() is None
    assert process.poll() is not None


async def test_a_press_that_dies_again_is_lost() -> None:
    async with stamping.press(order_for(light(), 2)) as press:
        press._helper._program = DEAD
        assert press._helper._process is not None
        press._helper._process.kill()
        with pytest.raises(HelperLost):
            await press.stamp(0, 2)


async def test_a_press_that_would_go_on_with_other_bytes_fails() -> None:
    async with stamping.press(order_for(light(), 2)) as press:
        press.prefix = press.prefix[:-1]
        press._is_open = False
        with pytest.raises(StampingFailed, match="another prefix"):
            await press.stamp(0, 2)


async def test_a_card_that_changes_on_its_way_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stamping.press(order_for(light(), 2)) as press:
        ask = press._ask

        async def bent(asked: Any) -> Any:
            head, tails = await ask(asked)
            return head, [tail.replace(b"stream", b"strean", 1) for tail in tails]

        monkeypatch.setattr(press, "_ask", bent)
        with pytest.raises(StampingFailed, match="card 0 is not what was verified"):
            await press.stamp(0, 1)


async def test_an_order_that_cannot_be_printed_opens_no_press() -> None:
    with pytest.raises(CardsRefused) as raised:
        async with stamping.press(order_for(light(), 2, value="")):
            pass
    assert {problem.code for problem in raised.value.problems} & {"value_empty", "settings_schema"}


async def test_a_refused_card_names_its_table_and_leaves_the_press_open() -> None:
    order = order_for(light(), 3)
    strange = {**order.rows[1], "table": {**order.rows[1]["table"], "number": "\N{SNOWMAN}"}}
    with pytest.raises(CardsRefused) as raised:
        async with stamping.press(
            dataclasses.replace(order, rows=[order.rows[0], strange, order.rows[2]])
        ):
            pass
    (problem,) = raised.value.problems
    assert problem.code == "font_missing_glyph"
    assert problem.tables == ("\N{SNOWMAN}",)


async def test_whoever_is_cancelled_ends_the_helper_at_once() -> None:
    async with stamping.press(order_for(heavy(), 400, pages=(1, 2))) as press:
        process = press._helper._process
        assert process is not None
        stamping_all = asyncio.create_task(press.stamp(0, 400))
        await until(lambda: press._helper._current is not None, what="the question")
        stamping_all.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stamping_all
        await until(lambda: process.poll() is not None, what="its end")


async def test_a_print_file_does_not_keep_a_preview_waiting() -> None:
    assert stamping._helper(True) is not stamping._helper(False)


async def test_many_who_ask_for_the_version_leave_one_warm_helper() -> None:
    versions = await asyncio.gather(*[stamping.version() for _ in range(3)])
    assert len(set(versions)) == 1
    (helper,) = stamping._spares
    process = helper._process
    assert process is not None
    await stamping.cool_down()
    assert process.poll() is not None
