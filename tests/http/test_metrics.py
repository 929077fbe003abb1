from __future__ import annotations

from dataclasses import replace

from makeready.config import Secret, Settings
from tests.support.objectstore import S3
from tests.support.service import Service, error_code, serving


async def test_metrics_are_what_the_database_knows(service: Service) -> None:
    answer = await service.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'makeready_jobs{queue="render",state="queued"} 0.0' in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_metrics_are_for_this_machine_alone_without_a_token(service: Service) -> None:
    answer = await service.client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
    assert error_code(answer) == "route_not_found"


async def test_metrics_want_their_token(s3: S3, settings: Settings) -> None:
    assert settings.s3_bucket == s3.bucket
    async with serving(replace(settings, metrics_token=Secret("sesame"))) as service:
        refused = await service.client.get("/metrics", headers={"Authorization": "Bearer wrong"})
        assert error_code(refused) == "unauthorized"
        taken = await service.client.get("/metrics", headers={"Authorization": "Bearer sesame"})
        assert taken.status_code == 200
