"""`/metrics` for Prometheus: what the database knows of the queues, and this process of itself."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator

import asyncpg
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from makeready_http.auth import bearer
from makeready_http.operations import Answer, Operation
from makeready_http.problems import Problem
from makeready_http.services import services_of

_ABOUT = "See the view makeready.metrics."


async def show_metrics(request: Request) -> Response:
    """The figures; 404 to whoever may not see them."""
    services = services_of(request)
    _admit(request)
    rows = await services.pool.fetch(
        "select metric, labels::text as labels, number from makeready.metrics_read()"
    )
    registry = CollectorRegistry()
    registry.register(_Database(rows))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Database(Collector):
    """The rows of one query as gauges."""

    def __init__(self, rows: Iterable[asyncpg.Record]) -> None:
        self._families: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for row in rows:
            labels = {name: str(value) for name, value in json.loads(row["labels"]).items()}
            self._families[row["metric"]].append((labels, row["number"]))

    def collect(self) -> Iterator[Metric]:
        """One family a name; the labels of a family are the same in all its rows."""
        for name, found in self._families.items():
            names = sorted(found[0][0])
            family = GaugeMetricFamily(name, _ABOUT, labels=names)
            for labels, value in found:
                family.add_metric([labels[each] for each in names], value)
            yield family


def _admit(request: Request) -> None:
    """With a token: who has it. Without: who asks from this machine, without a proxy between."""
    token = services_of(request).settings.metrics_token
    if token is not None:
        if hmac.compare_digest(bearer(request).encode(), token.reveal().encode()):
            return
        raise Problem("unauthorized", "The metrics want their token.")
    if not _is_near(request):
        raise Problem("route_not_found", "Not Found.")


def _is_near(request: Request) -> bool:
    is_forwarded = "forwarded" in request.headers or "x-forwarded-for" in request.headers
    host = request.client.host if request.client else ""
    try:
        return ipaddress.ip_address(host).is_loopback and not is_forwarded
    except ValueError:
        return False


OPERATIONS = (
    Operation(
        method="GET",
        path="/metrics",
        endpoint=show_metrics,
        who="anyone",
        tag="health",
        summary="gives figures to Prometheus",
        description="With MAKEREADY_METRICS_TOKEN set, to whoever sends it as a bearer token; "
        "without it, to this machine only.",
        answers={
            200: Answer(description="The figures.", media_type="text/plain; version=0.0.4"),
        },
        errors=("unauthorized", "route_not_found"),
    ),
)
