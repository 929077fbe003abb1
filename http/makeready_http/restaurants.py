"""Restaurants for staff. Thin: read, call one function, answer.

POST   /restaurants                          {"name": "Ёлки", "brand": …, "city": …, "logo": …}
GET    /restaurants                          ?q&brand&limit&after
GET    /restaurants/{restaurant_id}
PATCH  /restaurants/{restaurant_id}          If-Match: the version that was read
DELETE /restaurants/{restaurant_id}

A deleted one takes part in nothing new; what was made for it stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import restaurants
from makeready.restaurants import Restaurant
from makeready_http.answers import Json, listed, replayed
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import idempotency_key, path_uuid
from makeready_http.operations import (
    ID,
    PAGE,
    TEXT,
    TIME,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    done,
    nullable,
    page_of,
    read_body,
    read_query,
    record,
)
from makeready_http.posm_parts import READ, WRITE
from makeready_http.services import services_of
from makeready_http.versions import etag, known_version

TAG = "restaurants"

_NAME = {**TEXT, "minLength": 1, "maxLength": 200, "pattern": r"\S"}
_OTHERS: Mapping[str, Schema] = {
    "brand": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": 100,
        "pattern": r"\S",
        "description": "Templates of this brand are offered to it.",
    },
    "city": {"type": ["string", "null"], "minLength": 1, "maxLength": 100, "pattern": r"\S"},
    "logo": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": 300,
        "pattern": r"\S",
        "description": "`{restaurant.logo}` on cards.",
    },
}
_NEW = record({"name": _NAME}, _OTHERS)
_CHANGE = record({}, {"name": _NAME, **_OTHERS})
_LIST: Mapping[str, Schema] = {
    "q": {**TEXT, "maxLength": 200, "description": "A part of its name, brand or city."},
    "brand": {**TEXT, "maxLength": 100},
    **PAGE,
}
_log = structlog.get_logger(__name__)


async def create(request: Request) -> Response:
    """Enters a restaurant."""
    member = await current_staff(request, WRITE)
    key = idempotency_key(request)
    body = await read_body(request, _NEW)
    services = services_of(request)
    async with acting(services, member, request) as connection:
        made = await restaurants.create(connection, body, author=member.name, request_key=key)
    found = await restaurants.read(services.pool, made.id)
    _log.info("restaurant_created", restaurant_id=str(made.id), is_new=made.is_new)
    headers = {"Location": f"/restaurants/{made.id}", **replayed(made.is_new)}
    return _answer(found, status=201, headers=headers)


async def list_all(request: Request) -> Response:
    """Restaurants, newest first."""
    await current_staff(request, READ)
    asked = read_query(request, _LIST)
    rows = await restaurants.page(
        services_of(request).pool,
        search=asked["q"] or None,
        brand=asked["brand"],
        limit=asked["limit"],
        after=asked["after"],
    )
    return listed("restaurants", [item(row) for row in rows], asked["limit"], "id")


async def show(request: Request) -> Response:
    """One restaurant."""
    await current_staff(request, READ)
    restaurant = path_uuid(request, "restaurant_id", "restaurant_not_found")
    return _answer(await restaurants.read(services_of(request).pool, restaurant))


async def change(request: Request) -> Response:
    """Changes what is named; what was made keeps what it was made with."""
    member = await current_staff(request, WRITE)
    restaurant = path_uuid(request, "restaurant_id", "restaurant_not_found")
    known = known_version(request)
    body = await read_body(request, _CHANGE)
    services = services_of(request)
    async with acting(services, member, request) as connection:
        await restaurants.change(connection, restaurant, body, known=known)
        found = await restaurants.read(connection, restaurant)
    return _answer(found)


async def delete(request: Request) -> Response:
    """Takes it out of all lists."""
    member = await current_staff(request, WRITE)
    restaurant = path_uuid(request, "restaurant_id", "restaurant_not_found")
    known = known_version(request)
    async with acting(services_of(request), member, request) as connection:
        await restaurants.delete(connection, restaurant, known=known)
    return Response(status_code=204)


def item(row: Restaurant) -> dict[str, Any]:
    """A restaurant in answers."""
    return {
        "id": row.id,
        "name": row.name,
        "brand": row.brand,
        "city": row.city,
        "logo": row.logo,
        "tables": row.tables,
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _answer(
    row: Restaurant, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    body = {"ok": True, "restaurant": item(row)}
    return Json(body, status_code=status, headers={**etag(row.version), **(headers or {})})


_RESTAURANT = record(
    {
        "id": ID,
        "name": TEXT,
        "brand": nullable(TEXT),
        "city": nullable(TEXT),
        "logo": nullable(TEXT),
        "tables": {**WHOLE, "description": "How many it has."},
        "version": WHOLE,
        "created_at": TIME,
        "updated_at": TIME,
    }
)
_ONE = done(restaurant=_RESTAURANT)
OPERATIONS = (
    admin_operation(
        method="POST",
        path="/restaurants",
        endpoint=create,
        tag=TAG,
        needs=WRITE,
        summary="enters a restaurant",
        body=_NEW,
        is_idempotent=True,
        answers={
            201: Answer(description="Entered.", schema=_ONE, headers=("Location", "ETag")),
        },
    ),
    admin_operation(
        method="GET",
        path="/restaurants",
        endpoint=list_all,
        tag=TAG,
        needs=READ,
        summary="lists restaurants, newest first",
        query=_LIST,
        answers={200: Answer(description="A page.", schema=page_of("restaurants", _RESTAURANT))},
    ),
    admin_operation(
        method="GET",
        path="/restaurants/{restaurant_id}",
        endpoint=show,
        tag=TAG,
        needs=READ,
        summary="shows a restaurant",
        answers={200: Answer(description="It.", schema=_ONE, headers=("ETag",))},
        errors=("restaurant_not_found",),
    ),
    admin_operation(
        method="PATCH",
        path="/restaurants/{restaurant_id}",
        endpoint=change,
        tag=TAG,
        needs=WRITE,
        summary="changes what is named of a restaurant, unless `If-Match` names an older version",
        description="Null takes a value away. What was made keeps what it was made with.",
        body=_CHANGE,
        answers={200: Answer(description="As it is now.", schema=_ONE, headers=("ETag",))},
        errors=("restaurant_not_found", "stale_version"),
    ),
    admin_operation(
        method="DELETE",
        path="/restaurants/{restaurant_id}",
        endpoint=delete,
        tag=TAG,
        needs=WRITE,
        summary="takes a restaurant out of all lists, unless `If-Match` names an older version",
        description="What was made for it stays, and can be downloaded.",
        answers={204: Answer(description="It is gone.")},
        errors=("restaurant_not_found", "stale_version", "invalid_request"),
    ),
)
