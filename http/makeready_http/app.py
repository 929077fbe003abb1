"""The HTTP service: all operations, the lifespan, the middleware. Thin over SQL functions.

`create_app(settings)` is what `makeready http` serves; nothing happens at import.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from makeready.config import Settings
from makeready.faults import alone
from makeready_http import (
    admin_alerts,
    admin_config_operations,
    admin_documents,
    admin_evidence,
    admin_jobs,
    admin_ops,
    admin_people,
    debug,
    docs,
    documents,
    health,
    html,
    ingest,
    library,
    metrics,
    people,
    photo_health,
    photo_jobs,
    photo_policy,
    photo_results,
    photo_settings,
    photo_statistics,
    plain,
    posm_assets,
    posm_checks,
    posm_files,
    posm_generations,
    posm_policy,
    posm_prints,
    posm_qr,
    posm_template_files,
    posm_templates,
    providers,
    render,
    restaurant_tables,
    restaurants,
    sessions,
    sign_in,
    slot_trials,
    slots,
    staff,
    template_media,
    webhooks,
)
from makeready_http.early_answers import EarlyAnswers
from makeready_http.middleware import RequestScope
from makeready_http.operations import Operation
from makeready_http.photo_services import OpenPhotoWorkers
from makeready_http.problems import answer, refusal_of
from makeready_http.services import Services, services_opened
from makeready_http.starting import ToldFaults


class State(TypedDict):
    """What the lifespan gives to every request."""

    services: Services


OPERATIONS: tuple[Operation, ...] = (
    *health.OPERATIONS,
    *photo_health.OPERATIONS,
    *sign_in.OPERATIONS,
    *people.OPERATIONS,
    *sessions.OPERATIONS,
    *render.OPERATIONS,
    *plain.OPERATIONS,
    *html.OPERATIONS,
    *library.OPERATIONS,
    *webhooks.OPERATIONS,
    *documents.OPERATIONS,
    *metrics.OPERATIONS,
    *staff.OPERATIONS,
    *admin_people.OPERATIONS,
    *admin_ops.OPERATIONS,
    *admin_jobs.OPERATIONS,
    *admin_alerts.OPERATIONS,
    *admin_evidence.OPERATIONS,
    *admin_documents.OPERATIONS,
    *admin_config_operations.OPERATIONS,
    *restaurants.OPERATIONS,
    *restaurant_tables.OPERATIONS,
    *posm_templates.OPERATIONS,
    *posm_template_files.OPERATIONS,
    *posm_checks.OPERATIONS,
    *posm_assets.OPERATIONS,
    *posm_generations.OPERATIONS,
    *posm_files.OPERATIONS,
    *posm_prints.OPERATIONS,
    *posm_qr.OPERATIONS,
    *posm_policy.OPERATIONS,
    *ingest.OPERATIONS,
    *photo_settings.OPERATIONS,
    *photo_policy.OPERATIONS,
    *slots.OPERATIONS,
    *providers.OPERATIONS,
    *slot_trials.OPERATIONS,
    *template_media.OPERATIONS,
    *photo_results.OPERATIONS,
    *photo_jobs.OPERATIONS,
    *photo_statistics.OPERATIONS,
    *debug.OPERATIONS,
    *docs.OPERATIONS,
)
"""Every operation there is, in the order of the reference."""


def routes() -> list[BaseRoute]:
    """Every route there is; that of booths first, since they are tried one after the other."""
    rest = (each for each in OPERATIONS if each not in ingest.OPERATIONS)
    return [operation.route() for operation in (*ingest.OPERATIONS, *rest)]


def create_app(settings: Settings, *, photo_workers: OpenPhotoWorkers | None = None) -> Starlette:
    """The service for these settings; its lifespan opens and closes what it needs.

    `photo_workers` opens the tasks that process photos; without them no photo is let in.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        try:
            async with services_opened(settings, photo_workers=photo_workers) as services:
                yield {"services": services}
        except Exception as error:
            app.state.fault = alone(error)
            raise

    app = Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=[Middleware(ToldFaults), Middleware(EarlyAnswers), Middleware(RequestScope)],
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False  # a path is a route or it is not
    app.state.operations = OPERATIONS
    app.state.fault = None
    app.state.readiness = health.Readiness()
    app.state.photo_health = photo_health.PhotoHealth()
    app.state.statistics = photo_statistics.StatisticsCaches()
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """The router's own refusals: no such route, no such method."""
    return answer(refusal_of(error, request.state.request_id))
