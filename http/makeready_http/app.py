"""The HTTP service: all routes in one list, the lifespan, the middleware. Thin over SQL functions.

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
from starlette.routing import BaseRoute, Route

from makeready.config import Settings
from makeready_http import health, render
from makeready_http.middleware import RequestScope
from makeready_http.problems import answer, refusal_of
from makeready_http.services import Services, services_opened


class State(TypedDict):
    """What the lifespan gives to every request."""

    services: Services


def routes() -> list[BaseRoute]:
    """Every route there is."""
    return [
        Route("/health", health.live, methods=["GET"]),
        Route("/health/live", health.live, methods=["GET"]),
        Route("/health/ready", health.ready, methods=["GET"]),
        Route("/health/s3", health.storage, methods=["GET"]),
        Route("/packs", render.create_pack, methods=["POST"]),
        Route("/packs/{pack_id}/render", render.render_pack, methods=["POST"]),
        Route("/packs/{pack_id}/render/{doc_id}", render.render_document, methods=["POST"]),
        Route("/packs/{pack_id}/documents", render.list_documents, methods=["GET"]),
        Route("/render/jobs/{job_id}", render.show_job, methods=["GET"]),
        Route("/files/{file_id}/download", render.download, methods=["GET"]),
        Route("/me/files", render.my_files, methods=["GET"]),
        Route("/me/packs", render.my_packs, methods=["GET"]),
    ]


def create_app(settings: Settings) -> Starlette:
    """The service for these settings; its lifespan opens and closes what it needs."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with services_opened(settings) as services:
            yield {"services": services}

    app = Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=[Middleware(RequestScope)],
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False  # a path is a route or it is not
    app.state.readiness = health.Readiness()
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """The router's own refusals: no such route, no such method."""
    return answer(refusal_of(error, request.state.request_id))
