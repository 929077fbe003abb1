"""What the helper processes of `makeready.stamping` run: one question, one answer.

The helper of a generation opens its press once and keeps it; every other question brings what it
needs. Whatever a library raises of a broken file is an answer too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from makeready.aside import packed, serve, unpacked
from makeready.cards import checks
from makeready.cards.messages import facts_json, facts_of, problems_json
from makeready.cards.press import STAMPER
from makeready.cards.problems import CardsRefused
from makeready.cards.template import inspect

Answer = tuple[Mapping[str, Any], Sequence[bytes]]


def main() -> None:
    """Answers until nobody asks any more."""
    serve(answer)


def answer(question: bytes) -> bytes:
    """The answer to one question."""
    head, files = unpacked(question)
    try:
        return packed(*_WORK[head.pop("do")](files, **head))
    except CardsRefused as error:
        return packed({"problems": problems_json(error.problems)})
    except Exception as error:  # noqa: BLE001 -- whatever a broken file makes a library raise
        return packed({"failure": f"{type(error).__name__}: {error}"})


def _version(_: Sequence[bytes]) -> Answer:
    return {"stamper": STAMPER}, []


def _inspect(files: Sequence[bytes]) -> Answer:
    return {"facts": facts_json(inspect(files[0]))}, []


def _problems(
    files: Sequence[bytes],
    *,
    facts: Mapping[str, Any],
    settings: Any,
    rows: Sequence[Any],
    assets: Sequence[str],
    is_sample: bool,
) -> Answer:
    given = dict(zip(assets, files, strict=True))
    found = checks.examine(facts_of(facts), settings, rows, given, is_sample=is_sample)
    return {"found": problems_json(found)}, []


_WORK: Mapping[str, Callable[..., Answer]] = {
    "version": _version,
    "inspect": _inspect,
    "problems": _problems,
}
