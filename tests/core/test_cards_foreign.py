"""Templates that other programs made become cards that pass, or are refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pikepdf
import pytest

from makeready.cards.inspection import inspect
from makeready.cards.press import Order, Press
from makeready.cards.proof import inks, untouched
from makeready.cards.reading import read_codes
from makeready.cards.verify import Verifier
from tests.support.card_templates import rows
from tests.support.card_zoo import refused
from tests.support.foreign_templates import MAKERS, is_there, pillow

FIELDS: list[dict[str, Any]] = [
    {"id": "qr", "kind": "qr", "pages": "all", "x": 29, "y": 44, "width": 47, "height": 47,
     "value": "{table.url}"},
    {"id": "label", "kind": "text", "pages": "all", "x": 16, "y": 94, "width": 73, "height": 9,
     "value": "Стол № {table.number}", "size": 14, "align": "center", "valign": "middle",
     "color": {"cmyk": [0, 1, 0.6, 0.1]}},
    {"id": "side", "kind": "text", "pages": [1], "x": 2, "y": 66, "width": 21, "height": 7,
     "value": "{table.section}", "size": 8, "min_size": 4, "rotate": 90, "color": "white"},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_psm_028_what_another_program_made_becomes_cards(name: str, tmp_path: Path) -> None:
    """PSM-026, PSM-027: each card is as its template but for the fields, and can be read."""
    program, maker = MAKERS[name]
    if not is_there(program):
        pytest.skip(f"{program} is not installed")
    pdf = maker(tmp_path)
    facts = inspect(pdf)
    order = Order(pdf=pdf, settings={"schema": 1, "fields": FIELDS}, rows=rows(3))
    press = Press.open(order, facts)
    looks = Verifier(press)
    for index in range(3):
        seen = looks.check(press.stamp(index), cold=index != 1)
    pages = len(facts.pages)
    assert len(seen["codes"]) == pages
    assert seen["position_error_mm"] < 0.09
    card = press.stamp(2)
    assert untouched(press, card) == pages
    assert inks(press, card) == sum(not page.blends_rgb for page in facts.pages)
    assert read_codes(press.whole(card)) == [[press.rows[2]["table"]["url"]]] * pages
    assert looks._is_layered


def test_psm_007_what_another_program_locked_is_refused(tmp_path: Path) -> None:
    for locks, code in (
        (pikepdf.Encryption(user="guest", owner="boss"), "template_encrypted"),
        (
            pikepdf.Encryption(owner="boss", allow=pikepdf.Permissions(modify_other=False)),
            "template_restricted",
        ),
    ):
        path = tmp_path / "locked.pdf"
        (tmp_path / "plain.pdf").write_bytes(pillow(tmp_path))
        with pikepdf.open(tmp_path / "plain.pdf") as document:
            document.save(path, encryption=locks)
        (problem,) = refused(path.read_bytes())
        assert problem.code == code
