"""What developers may do and strangers must not: without DEBUG none of it is there.

POST /debug/s3/put-test-pdf     ?session_id=…, which may be left out
"""

from __future__ import annotations

from uuid import uuid4

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import debug_files
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import current_user, refuse_unless_debug
from makeready_http.operations import ID, TEXT, Answer, Operation, done, read_query
from makeready_http.services import services_of

PDF = "application/pdf"
_QUERY = {"session_id": {**ID, "description": "A session of the user; else a new one."}}

_log = structlog.get_logger(__name__)


async def put_test_pdf(request: Request) -> Response:
    """Stores a page of PDF, lists it as the user's file and links to it."""
    refuse_unless_debug(request)
    user = await current_user(request)
    session = read_query(request, _QUERY)["session_id"]
    services = services_of(request)
    key = f"debug/{uuid4()}/test.pdf"
    facts = await services.storage.put(key, a_page(), media_type=PDF)
    made = await debug_files.publish(services.pool, user, session, facts)
    link = await services.storage.presign(
        key, valid_s=services.settings.presign_ttl_s, filename="test.pdf"
    )
    _log.info("file_created", key=key)
    found = {
        "ok": True,
        "artifact_id": made.artifact_id,
        "file_id": made.file_id,
        "bucket": facts.bucket,
        "key": key,
        "download_url": link,
    }
    return Json(found, headers=NO_STORE)


def a_page() -> bytes:
    """A PDF of one empty page."""
    parts = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<<>>>>",
    )
    body = bytearray(b"%PDF-1.4\n")
    places = []
    for number, part in enumerate(parts, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(body)
    count = len(parts) + 1
    body += b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
    body += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, start)
    return bytes(body)


OPERATIONS = (
    Operation(
        method="POST",
        path="/debug/s3/put-test-pdf",
        endpoint=put_test_pdf,
        tag="debug",
        summary="stores a page of PDF and lists it as a file of the user",
        description="With DEBUG only.",
        query=_QUERY,
        answers={
            200: Answer(
                description="Stored; the link works for some minutes.",
                schema=done(artifact_id=ID, file_id=ID, bucket=TEXT, key=TEXT, download_url=TEXT),
            )
        },
        errors=("route_not_found", "session_not_found", "storage_unavailable"),
    ),
)
