"""Settings that come with a template, or from another one. Proves PSM-011: recommended ones."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pikepdf
import pymupdf
import pytest

from makeready.cards.checks import examine
from makeready.cards.discovery import settings_from
from makeready.cards.inspection import inspect
from makeready.cards.settings import copied, read_settings
from makeready.cards.template import FormField
from tests.support.card_checks import FACTS, PAGE, found, mm, settings
from tests.support.card_templates import rows, turned


def field(name: str, *, page: int = 1, size: float = 0, **box: float) -> FormField:
    place = {"x0": 10.0, "y0": 20.0, "x1": 60.0, "y1": 30.0} | box
    return FormField(name=name, page=page, box=mm(**place), kind="text", size=size)


def discovered(*fields: FormField) -> list[dict[str, Any]]:
    found = settings_from(replace(FACTS, form_fields=fields))
    read_settings(found)
    fields_found: list[dict[str, Any]] = found["fields"]
    return fields_found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("{table.url}", "{table.url}"),
        ("table.url", "{table.url}"),
        ("qr", "{table.url}"),
        ("QR-code 2", "{table.url}"),
        ("{table.number}", "{table.number}"),
        ("table.number#1", "{table.number}"),
        ("Table_1", "{table.number}"),
        ("Стол № {table.number|pad:3}", "Стол № {table.number|pad:3}"),
        ("Номер", "{table.number}"),
        ("Ресторан", "{restaurant.name}"),
        ("row.guest", "{row.guest}"),
    ],
)
def test_a_form_field_says_what_belongs_there(name: str, value: str) -> None:
    (only,) = discovered(field(name))

    assert only["value"] == value
    assert only["kind"] == ("qr" if value == "{table.url}" else "text")
    assert (only["x"], only["y"], only["width"], only["height"]) == (10, 20, 50, 10)
    assert only["pages"] == [1]


@pytest.mark.parametrize("name", ["Signature1", "{table.nubmer}", "{", "{{x}}", "", "Text 1"])
def test_a_form_field_of_another_name_says_nothing(name: str) -> None:
    assert settings_from(replace(FACTS, form_fields=(field(name),))) == {}


def test_text_has_the_size_of_its_form_field_or_of_its_box() -> None:
    sized, free = discovered(field("table.number", size=14), field("table.name", y0=60.0, y1=70.0))

    assert (sized["size"], sized["min_size"]) == (14, 6)
    assert 18 < free["size"] < 22
    assert (free["align"], free["valign"]) == ("center", "middle")


def test_a_field_on_both_pages_is_one_and_another_place_is_another() -> None:
    same = [field("qr"), field("qr", page=2), field("qr", page=2, y0=90.0, y1=99.0)]

    first, second = discovered(*same)
    assert (first["id"], first["pages"]) == ("qr", [1, 2])
    assert (second["id"], second["pages"]) == ("qr-2", [2])


def test_no_more_fields_are_found_than_settings_may_have() -> None:
    many = [field("table.number", y0=each + 1.0, y1=each + 2.0) for each in range(60)]

    assert len(discovered(*many)) == 50


def test_a_real_form_on_a_turned_page_becomes_settings_that_fit() -> None:
    """PSM-011: Field boxes lie in the page's own space, settings in what a designer sees."""
    with pymupdf.open(stream=turned()) as document:
        page = document[0]
        for name, box in (
            ("{table.url}", (70, 130, 220, 280)),
            ("table.number", (70, 310, 220, 330)),
        ):
            widget = pymupdf.Widget()
            widget.field_name = name
            widget.field_type = 7  # text
            widget.rect = pymupdf.Rect(box) * page.derotation_matrix
            page.add_widget(widget)
        pdf = document.tobytes()
    facts = inspect(pdf)
    recommended = settings_from(facts)

    code, label = recommended["fields"]
    assert (code["id"], label["id"]) == ("qr", "number")
    assert code["x"] == pytest.approx(70 * 25.4 / 72, abs=0.1)
    assert code["y"] == pytest.approx(130 * 25.4 / 72, abs=0.1)
    assert code["width"] == code["height"] == pytest.approx(150 * 25.4 / 72, abs=0.1)
    assert examine(facts, recommended, rows(3), {}) == []


def test_a_note_that_says_a_value_marks_its_place() -> None:
    with pikepdf.open(io.BytesIO(turned())) as document:
        document.pages[0].Annots = pikepdf.Array([
            pikepdf.Dictionary(
                Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Square, Rect=[60, 60, 200, 200],
                Contents="{table.url}",
            )
        ])  # fmt: skip
        target = io.BytesIO()
        document.save(target)
    facts = inspect(target.getvalue())

    assert [each["kind"] for each in settings_from(facts)["fields"]] == ["qr"]
    assert facts.pages[0].annotations == ()


def test_settings_are_copied_at_the_same_millimetres() -> None:
    """PSM-011."""
    source = settings(pages=(1, 2))
    made, left_out = copied(source, FACTS)

    assert made == source
    assert left_out == []
    assert found(made) == []


def test_pages_that_the_other_template_lacks_are_left_out_and_told() -> None:
    single = replace(FACTS, pages=(PAGE,))
    source = settings(
        {"kind": "text", "value": "x", "pages": [2]},
        {"kind": "text", "value": "x", "pages": "all", "y": 30},
        pages=(1, 2),
    )
    made, left_out = copied(source, single)

    assert [(each["id"], each["pages"]) for each in made["fields"]] == [
        ("qr", [1]), ("label", [1]), ("f1", "all"),
    ]  # fmt: skip
    assert [each.path for each in left_out] == [f"fields[{n}].pages" for n in range(3)]
    assert not any(each.is_error for each in left_out)
    assert found(made, facts=single) == []
    assert source["fields"][0]["pages"] == [1, 2]
