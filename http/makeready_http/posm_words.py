"""What the database refuses about cards, in words: what cards themselves refuse has its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from makeready.errors import Rejected
from makeready_http.languages import language_of
from makeready_http.problems import Problem

_HINTS: Mapping[str, str] = {
    "no_tables": "Give the restaurant tables, or choose others.",
    "too_many_tables": "Choose fewer; the limit is max_tables of the policy.",
    "table_not_found": "Choose tables that the restaurant has now.",
    "duplicate": "Name each table once.",
}
_RUSSIAN: Mapping[str, tuple[str, str]] = {
    "no_tables": (
        "Столов, для которых делать карточки, нет.",
        "Добавьте столы ресторану или выберите другие; новых с этой версии может не быть.",
    ),
    "too_many_tables": (
        "Столов слишком много для одной генерации.",
        "Выберите меньше; предел — max_tables в правилах карточек.",
    ),
    "table_not_found": (
        "Такого стола в ресторане нет.",
        "Выберите столы, которые есть у ресторана сейчас.",
    ),
    "duplicate": ("Стол назван дважды.", "Назовите каждый стол один раз."),
}


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
    message, hint = problem["message"], problem.get("hint") or _HINTS.get(code, "")
    if language_of(request) == "ru":
        message, hint = _RUSSIAN.get(code, (message, hint))
    return {
        "code": code,
        "path": problem["path"],
        "level": "error",
        "message": message,
        "hint": hint,
        "tables": [str(each) for each in problem.get("tables", [])],
    }
