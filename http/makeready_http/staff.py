"""Staff: who is signed in, and who else there is.

GET  /admin/me
GET  /admin/staff       ?limit=50&after=<the last id of the page before>
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from makeready import staff
from makeready.staff import Account, Staff
from makeready_http.auth import current_staff
from makeready_http.inputs import page
from makeready_http.items import listed
from makeready_http.operations import (
    PAGE,
    TEXT,
    TIME,
    Answer,
    Operation,
    array,
    done,
    nullable,
    page_of,
    record,
)
from makeready_http.operations import (
    UUID as ID,
)
from makeready_http.services import services_of

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
ACCOUNT = record(
    {
        "staff_id": ID,
        "name": TEXT,
        "role": TEXT,
        "created_at": TIME,
        "signed_in_at": nullable(TIME),
        "disabled_at": nullable(TIME),
    }
)


async def me(request: Request) -> Response:
    """Who is signed in, and what the role allows now."""
    member = await current_staff(request)
    return JSONResponse({"ok": True, **_facts(member)}, headers=NO_STORE)


async def list_staff(request: Request) -> Response:
    """All accounts, oldest first."""
    await current_staff(request, "people:read")
    limit, after = page(request)
    found = await staff.accounts(services_of(request).pool, limit=limit, after=after)
    return listed("staff", [_account_item(account) for account in found], limit, "staff_id")


def _account_item(account: Account) -> dict[str, object]:
    return {
        "staff_id": str(account.id),
        "name": account.name,
        "role": account.role,
        "created_at": account.created_at.isoformat(),
        "signed_in_at": account.signed_in_at and account.signed_in_at.isoformat(),
        "disabled_at": account.disabled_at and account.disabled_at.isoformat(),
    }


def _facts(member: Staff) -> dict[str, object]:
    return {
        "staff_id": str(member.id),
        "name": member.name,
        "role": member.role,
        "permissions": sorted(member.permissions),
        "expires_at": member.token.expires_at.isoformat(),
    }


OPERATIONS = (
    Operation(
        method="GET",
        path="/admin/me",
        endpoint=me,
        tag="staff",
        who="staff",
        summary="says who is signed in",
        answers={
            200: Answer(
                description="The account and what its role allows now.",
                schema=done(
                    staff_id=ID, name=TEXT, role=TEXT, permissions=array(TEXT), expires_at=TIME
                ),
            )
        },
    ),
    Operation(
        method="GET",
        path="/admin/staff",
        endpoint=list_staff,
        tag="staff",
        who="staff",
        needs="people:read",
        summary="lists the accounts of staff, oldest first",
        query=PAGE,
        answers={200: Answer(description="A page.", schema=page_of("staff", ACCOUNT))},
    ),
)
