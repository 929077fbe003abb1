"""The policy of table cards: how many at once, how long they stay, where links lead.

GET   /admin/posm/policy
PATCH /admin/posm/policy    {"max_active": 4}
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from makeready import posm_templates
from makeready.posm_templates import Policy
from makeready_http.answers import Json
from makeready_http.auth import acting, current_staff
from makeready_http.operations import (
    TEXT,
    WHOLE,
    Answer,
    admin_operation,
    done,
    nullable,
    read_body,
    record,
)
from makeready_http.posm_parts import TAG
from makeready_http.services import services_of

_CHANGE = record(
    {},
    {
        "max_active": {
            **WHOLE,
            "minimum": 0,
            "maximum": 1000,
            "description": "Generations scheduled or in progress at a time; others wait.",
        },
        "keep_generations": {
            **WHOLE,
            "minimum": 1,
            "maximum": 10_000,
            "description": "The newest of each restaurant and template that are kept.",
        },
        "keep_days": {
            **WHOLE,
            "minimum": 1,
            "maximum": 36_500,
            "description": "Days a generation is kept; the newest that is done stays.",
        },
        "max_tables": {**WHOLE, "minimum": 1, "maximum": 5000},
        "max_template_bytes": {**WHOLE, "minimum": 1024, "maximum": 100 << 20},
        "link_template": {
            **TEXT,
            "maxLength": 500,
            "pattern": r"^https?://[^\s/{}]+[^\s{}]*\{uuid\}[^\s{}]*$",
            "description": "The link of a table that has none of its own:"
            " https://example.com/t/{uuid}.",
        },
    },
)


async def show(request: Request) -> Response:
    """What is in force."""
    await current_staff(request, "settings:read")
    return _answer(await posm_templates.policy(services_of(request).pool))


async def change(request: Request) -> Response:
    """Changes what is named, from now on."""
    member = await current_staff(request, "settings:write")
    changes = await read_body(request, _CHANGE)
    async with acting(services_of(request), member, request) as connection:
        found = await posm_templates.set_policy(connection, **changes)
    return _answer(found)


def _answer(found: Policy) -> Response:
    policy: dict[str, Any] = asdict(found)
    return Json({"ok": True, "policy": policy})


_POLICY = done(
    policy=record(
        {
            "max_active": WHOLE,
            "keep_generations": WHOLE,
            "keep_days": WHOLE,
            "max_tables": WHOLE,
            "max_template_bytes": WHOLE,
            "link_template": nullable(TEXT),
        }
    )
)
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/posm/policy",
        endpoint=show,
        tag=TAG,
        needs="settings:read",
        summary="shows the policy of table cards",
        answers={200: Answer(description="What is in force.", schema=_POLICY)},
    ),
    admin_operation(
        method="PATCH",
        path="/admin/posm/policy",
        endpoint=change,
        tag=TAG,
        needs="settings:write",
        summary="changes what is named of the policy of table cards, from now on",
        body=_CHANGE,
        answers={200: Answer(description="What is in force.", schema=_POLICY)},
    ),
)
