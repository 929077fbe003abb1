"""What the database refuses about cards, in words: what cards themselves refuse has its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from makeready.errors import Rejected
from makeready_http.languages import language_of
from makeready_http.problems import Problem

_WORDS: Mapping[str, tuple[str, str, str]] = {
    "no_tables": (
        "Give the restaurant tables, or choose others.",
        "Столов, для которых делать карточки, нет.",
        "Добавьте столы ресторану или выберите другие; новых с этой версии может не быть.",
    ),
    "too_many_tables": (
        "Choose fewer; the limit is max_tables of the policy.",
        "Столов слишком много для одной генерации.",
        "Выберите меньше; предел — max_tables в правилах карточек.",
    ),
    "table_not_found": (
        "Choose tables that the restaurant has now.",
        "Такого стола в ресторане нет.",
        "Выберите столы, которые есть у ресторана сейчас.",
    ),
    "duplicate": (
        "Name each table once.",
        "Стол назван дважды.",
        "Назовите каждый стол один раз.",
    ),
    "uuid_of_another": (
        "Leave the uuid out: a new table gets its own.",
        "Этот uuid принадлежит столу другого ресторана.",
        "Уберите uuid: новый стол получит свой.",
    ),
    "since_version": (
        "The history has all versions: GET /posm/generations.",
        "Такой версии у этого ресторана и макета нет.",
        "Все версии есть в истории: GET /posm/generations.",
    ),
    "brand": (
        "Name the brand with visibility brand, and only then.",
        "Макет для сети называет её, от 1 до 100 знаков; другой макет сеть не называет.",
        "Укажите brand при visibility brand, и только тогда.",
    ),
    "restaurant_ids": (
        "Name restaurants with visibility restaurant, and only then.",
        "Макет для ресторанов называет хотя бы один; другой макет не называет ни одного.",
        "Укажите restaurant_ids при visibility restaurant, и только тогда.",
    ),
    "": (
        "Give restaurant_id, alone or with table_ids or since_version; or give uuids.",
        "Генерация делается для ресторана или для списка uuid.",
        "Укажите restaurant_id, один или с table_ids либо since_version; или укажите uuids.",
    ),
}
"""By code, or by place where the code says nothing: a hint in English, then all in Russian."""
_PLACES = {"restaurants": "restaurant_ids"}
"""What bodies call otherwise than the database."""


@contextmanager
def in_words(request: Request) -> Iterator[None]:
    """What SQL refuses in this block is answered as a finding, in the language of the request."""
    try:
        yield
    except Rejected as refused:
        found = refused.details
        if not isinstance(found.get("problems"), list):
            raise
        items = [_item(request, problem) for problem in found["problems"]]
        raise Problem("validation_failed", items[0]["message"], details=items) from None


def _item(request: Request, problem: Mapping[str, Any]) -> dict[str, Any]:
    code = problem["code"]
    path = _PLACES.get(problem["path"], problem["path"])
    message = problem["message"].replace(f"{problem['path']} is", f"{path} is", 1)
    hint, *russian = _WORDS.get(path if code == "validation_failed" else code, ("", message, ""))
    hint = problem.get("hint") or hint
    if language_of(request) == "ru":
        message, hint = russian[0], russian[1] or hint
    return {
        "code": code,
        "path": path,
        "level": "error",
        "message": message,
        "hint": hint,
        "tables": [str(each) for each in problem.get("tables", [])],
    }
