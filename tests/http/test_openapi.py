"""The published description is true: valid, complete, and kept by every answer of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from makeready_http.app import OPERATIONS
from makeready_http.openapi import openapi
from makeready_http.operations import Operation
from tests.support.service import Person, Service

EXAMPLES = 12
QUICK = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# A body may fit its schema and break a rule that no schema tells.
NOT_ASKED = [positive_data_acceptance]
SCHEMA = schemathesis.openapi.from_dict(openapi(OPERATIONS))


def test_operations_are_named_once() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert sorted(set(names)) == sorted(names)


async def test_the_document_is_served(service: Service) -> None:
    found = (await service.client.get("/openapi.json")).json()
    assert found["openapi"] == "3.1.0"
    assert found == openapi(OPERATIONS)


async def test_the_page_loads_nothing_from_elsewhere(service: Service) -> None:
    page = await service.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "://" not in page.text.replace("https://pack.invalid", "")
    assert all(operation.path in page.text for operation in OPERATIONS)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_no_answer_is_a_surprise(
    service: Service, anna: Person, operation: Operation
) -> None:
    tokens = {"anyone": None, "user": anna.secret, "staff": anna.secret}
    headers = _headers(tokens[operation.who])
    await asyncio.to_thread(_attack, service.url, operation, headers, {})


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _attack(
    url: str, operation: Operation, headers: Mapping[str, str], known: Mapping[str, str]
) -> None:
    """Sends what the document allows and what it does not; every answer must be promised."""
    described = SCHEMA[operation.path][operation.method]

    @QUICK
    @given(case=described.as_strategy())
    def attack(case: Any) -> None:
        case.path_parameters.update(
            {name: value for name, value in known.items() if name in (case.path_parameters or {})}
        )
        case.call_and_validate(base_url=url, headers=dict(headers), excluded_checks=NOT_ASKED)

    attack()
