"""The press of the button: what is asked for is checked as it will be frozen, then it is written.

Checks take their time, so they run outside of any transaction. What was checked is compared with
what was frozen before that is committed: tables that changed meanwhile are checked anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.requests import Request

from makeready import posm, posm_making, posm_templates
from makeready.cards.values import Row
from makeready.errors import Rejected
from makeready.posm import GenerationMade
from makeready.shapes import MAX_PROBLEMS, cut, problem, shown
from makeready.staff import Staff
from makeready.stamping import Problem as Finding
from makeready_http.auth import acting
from makeready_http.posm_parts import refuse_errors, turn
from makeready_http.posm_reading import facts_of, findings_of, refuse_deep
from makeready_http.problems import Problem
from makeready_http.services import Services, services_of

ROW_MOST = 100
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What cards are asked for."""

    template: UUID
    restaurant: UUID | None = None
    tables: Sequence[UUID] | None = None
    cards: Sequence[Mapping[str, Any]] | None = None
    since_version: int | None = None
    settings: Mapping[str, Any] | None = None

    @property
    def tables_asked(self) -> dict[str, Any]:
        """Which tables, as the calls of the slice take it."""
        return {
            "restaurant": self.restaurant,
            "tables": self.tables,
            "cards": self.cards,
            "since_version": self.since_version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a generation would be made of now, and what is to be said of that."""

    template_sha256: bytes
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    findings: Sequence[Finding]


class _Changed(Exception):
    """What was frozen is not what was checked."""


def wish_of(body: Mapping[str, Any], template: UUID | None = None) -> Wish:
    """The wish of a body that fits `posm_bodies`; Rejected for rows that no value can read."""
    tables, uuids = body.get("table_ids"), body.get("uuids")
    restaurant = body.get("restaurant_id")
    refuse_deep(body.get("settings"))
    problems = [found for place, each in enumerate(uuids or ()) for found in _odd(place, each)]
    if problems:
        raise Rejected("rows do not fit", details={"problems": problems[:MAX_PROBLEMS]})
    return Wish(
        template=template or UUID(body["template_id"]),
        restaurant=None if restaurant is None else UUID(restaurant),
        tables=None if tables is None else [UUID(each) for each in tables],
        cards=None if uuids is None else [_bare(each) for each in uuids],
        since_version=body.get("since_version"),
        settings=body.get("settings"),
    )


def _odd(place: int, given: str | Mapping[str, Any]) -> list[dict[str, str]]:
    """What of its row is neither text nor number."""
    row = {} if isinstance(given, str) else given.get("row", {})
    hint = f"expected texts, whole numbers or null, at most {ROW_MOST} of them"
    path = f"uuids[{place}].row"
    if len(row) > ROW_MOST:
        return [problem("too_many", path, f"{len(row)} values are too many", hint)]
    return [
        problem("wrong_type", f"{path}.{cut(name)}", f"{shown(value)} cannot be printed", hint)
        for name, value in row.items()
        if isinstance(value, bool) or not isinstance(value, str | int | None)
    ]


def _bare(given: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(given, str):
        return {"uuid": given}
    found = dict(given)
    label = found.pop("label", None)
    return found if found.get("number") else found | {"number": label}


async def planned(services: Services, wish: Wish, author: str) -> Plan:
    """Reads what the cards would be made of, and checks it; refuses as the press itself does."""
    template = await posm_templates.read(services.pool, wish.template)
    rows = await posm.rows_of(services.pool, wish.template, author=author, **wish.tables_asked)
    settings = template.settings if wish.settings is None else wish.settings
    findings = await findings_of(services, facts_of(template), settings, rows) if rows else []
    return Plan(template_sha256=template.sha256, settings=settings, rows=rows, findings=findings)


async def pressed(request: Request, member: Staff, wish: Wish, key: str) -> GenerationMade:
    """The generation of this press, or the one that the same press has made before."""
    services = services_of(request)
    async with turn(services.presses):
        for _ in range(TRIES):
            seen = await posm.seen(
                services.pool,
                wish.template,
                author=member.name,
                request_key=key,
                settings=wish.settings,
                **wish.tables_asked,
            )
            if seen is not None:
                return seen
            plan = await planned(services, wish, member.name)
            refuse_errors(request, plan.findings)
            try:
                return await _written(request, member, wish, key, plan)
            except _Changed:
                continue
    text = "The tables change while they are checked; nothing was asked for."
    raise Problem("conflict", text, details={"reason": "tables_change"})


async def _written(
    request: Request, member: Staff, wish: Wish, key: str, plan: Plan
) -> GenerationMade:
    async with acting(services_of(request), member, request) as connection:
        made = await posm.enqueue(
            connection,
            wish.template,
            author=member.name,
            settings=wish.settings,
            request_key=key,
            wake=False,
            **wish.tables_asked,
        )
        if made.is_new:
            frozen = await posm_making.input_of(connection, made.id)
            if (
                frozen is None
                or frozen.template.sha256 != plan.template_sha256
                or frozen.settings != plan.settings
                or [card.row for card in frozen.cards] != list(plan.rows)
            ):
                raise _Changed  # and nothing is committed
    return made
