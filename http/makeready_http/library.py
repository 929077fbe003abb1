"""What a user sees of packs, jobs and files. Reads only: read, call one function, answer.

GET  /packs/{pack_id}
GET  /packs/{pack_id}/documents
GET  /render/jobs/{job_id}
GET  /files/{file_id}/download
GET  /files/{file_id}/thumbnail
GET  /me/files, /me/packs        ?limit=50&after=<the last id of the page before>
"""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import library
from makeready.storage_errors import ObjectMissing
from makeready_http.answers import LINK, Json, link_to, listed
from makeready_http.auth import current_user
from makeready_http.inputs import path_uuid
from makeready_http.items import (
    BUNDLE,
    DOCUMENT,
    FILE,
    JOB_FIELDS,
    PACK,
    PACK_FIELDS,
    bundle_item,
    document_item,
    file_item,
    job_item,
    pack_facts_item,
    pack_item,
)
from makeready_http.operations import (
    ID,
    PAGE,
    Answer,
    Operation,
    array,
    done,
    page_of,
    read_page,
)
from makeready_http.problems import not_found
from makeready_http.services import services_of

_log = structlog.get_logger(__name__)


async def show_pack(request: Request) -> Response:
    """A pack, and what its documents were bundled into."""
    user = await current_user(request)
    pack = path_uuid(request, "pack_id", "pack_not_found")
    found = await library.pack(services_of(request).pool, user, pack)
    return Json({"ok": True, **pack_facts_item(found)})


async def list_documents(request: Request) -> Response:
    """Each document of the pack with the state of its latest render."""
    user = await current_user(request)
    pack = path_uuid(request, "pack_id", "pack_not_found")
    pool = services_of(request).pool
    found = await library.documents(pool, user, pack)
    bundle = bundle_item(await library.pack(pool, user, pack))
    _log.info("render_status_listed", pack_id=str(pack), documents=len(found))
    items = [document_item(state, services_of(request).settings) for state in found]
    return Json({"ok": True, "pack_id": pack, "documents": items, **bundle})


async def show_job(request: Request) -> Response:
    """One render, by its job."""
    user = await current_user(request)
    job_id = path_uuid(request, "job_id", "job_not_found")
    found = await library.job(services_of(request).pool, user, job_id)
    return Json({"ok": True, **job_item(found)})


async def download(request: Request) -> Response:
    """A link to the file that works for some minutes, for whoever holds it."""
    user = await current_user(request)
    file_id = path_uuid(request, "file_id", "file_not_found")
    services = services_of(request)
    found = await library.file(services.pool, user, file_id)
    return await link_to(services, file_id, found)


async def thumbnail(request: Request) -> Response:
    """A picture of the first page of the file."""
    user = await current_user(request)
    file_id = path_uuid(request, "file_id", "file_not_found")
    services = services_of(request)
    found = await library.file(services.pool, user, file_id)
    if found.thumb_bucket is None or found.thumb_key is None:
        raise not_found("file_not_found", "file_id", file_id)
    try:
        body = await services.storage.of_bucket(found.thumb_bucket).get(found.thumb_key)
    except ObjectMissing:
        raise not_found("file_not_found", "file_id", file_id) from None
    # What a file id stands for never changes; whose it is may, so nobody else keeps it.
    headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(body, media_type="image/jpeg", headers=headers)


async def my_files(request: Request) -> Response:
    """The user's files, newest first."""
    user = await current_user(request)
    limit, after = read_page(request)
    rows = await library.files(services_of(request).pool, user, limit=limit, older_than=after)
    return listed("files", [file_item(row) for row in rows], limit, "file_id")


async def my_packs(request: Request) -> Response:
    """The user's packs, newest first."""
    user = await current_user(request)
    limit, after = read_page(request)
    rows = await library.packs(services_of(request).pool, user, limit=limit, older_than=after)
    return listed("packs", [pack_item(row) for row in rows], limit, "pack_id")


OPERATIONS = (
    Operation(
        method="GET",
        path="/packs/{pack_id}",
        endpoint=show_pack,
        tag="packs",
        summary="shows a pack and its bundle",
        description="Once no document is queued or rendering, those that are ready are made into"
        " one PDF with bookmarks and one ZIP. Both ids are null until they are made, and whenever"
        " the pack was rendered again since.",
        answers={200: Answer(description="The pack.", schema=done(**PACK_FIELDS, **BUNDLE))},
        errors=("pack_not_found",),
    ),
    Operation(
        method="GET",
        path="/packs/{pack_id}/documents",
        endpoint=list_documents,
        tag="packs",
        summary="lists each document with the state of its latest render",
        answers={
            200: Answer(
                description="In the order of printing.",
                schema=done(pack_id=ID, documents=array(DOCUMENT), **BUNDLE),
            )
        },
        errors=("pack_not_found",),
    ),
    Operation(
        method="GET",
        path="/render/jobs/{job_id}",
        endpoint=show_job,
        tag="packs",
        summary="shows one render",
        answers={200: Answer(description="Its state.", schema=done(**JOB_FIELDS))},
        errors=("job_not_found",),
    ),
    Operation(
        method="GET",
        path="/files/{file_id}/download",
        endpoint=download,
        tag="files",
        summary="hands out a link to a file",
        answers={
            200: Answer(
                description="A link that works for `expires_in_sec`, for whoever holds it.",
                schema=LINK,
            )
        },
        errors=("file_not_found", "result_expired"),
    ),
    Operation(
        method="GET",
        path="/files/{file_id}/thumbnail",
        endpoint=thumbnail,
        tag="files",
        summary="shows the first page of a document",
        description="320 pixels wide. Bundles have none.",
        answers={200: Answer(description="A picture.", media_type="image/jpeg")},
        errors=("file_not_found", "result_expired", "storage_unavailable"),
    ),
    Operation(
        method="GET",
        path="/me/files",
        endpoint=my_files,
        tag="files",
        summary="lists the user's files, newest first",
        query=PAGE,
        answers={200: Answer(description="A page.", schema=page_of("files", FILE))},
    ),
    Operation(
        method="GET",
        path="/me/packs",
        endpoint=my_packs,
        tag="packs",
        summary="lists the user's packs, newest first",
        query=PAGE,
        answers={200: Answer(description="A page.", schema=page_of("packs", PACK))},
    ),
)
