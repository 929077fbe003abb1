"""What can be printed, for users: which documents there are, and what data each one takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from makeready.documents import register
from makeready.documents.designs import WITHOUT_TEMPLATE
from makeready.documents.register import Access, DocumentRow
from makeready.documents.typesetting import DocumentType
from makeready_http.answers import Json
from makeready_http.auth import current_user
from makeready_http.items import ACCESS, access_item
from makeready_http.operations import (
    ANYTHING,
    LANGUAGE,
    TEXT,
    Answer,
    Operation,
    Schema,
    array,
    done,
    nullable,
    read_query,
    record,
)
from makeready_http.problems import not_found
from makeready_http.services import services_of

_QUERY: Mapping[str, Schema] = {"language": LANGUAGE}


async def list_documents(request: Request) -> Response:
    """Every document that there is a version of."""
    await current_user(request)
    language = read_query(request, _QUERY)["language"]
    services = services_of(request)
    rows = await register.documents(services.pool)
    if services.settings.config_source == "file":
        rows = [row for row in rows if row.is_shipped]
    seen = ((row, row.access(services.settings)) for row in rows if _has_template(row))
    items = [_item(row, access, language) for row, access in seen if access.is_visible]
    return Json({"ok": True, "documents": items})


async def show_document(request: Request) -> Response:
    """One document: the schema of its data, and data that fits."""
    await current_user(request)
    language = read_query(request, _QUERY)["language"]
    services = services_of(request)
    doc_id = request.path_params["doc_id"]
    row = await register.document(services.pool, doc_id)
    if not _has_template(row):
        raise not_found("document_not_found", "doc_id", doc_id)
    doc = await services.catalogue.current(doc_id)
    item = _item(row, row.access(services.settings), language)
    return Json(
        {
            "ok": True,
            **item,
            "version": doc.version,
            "schema": doc.schema,
            "sample": _sample(doc, language),
        }
    )


def _item(row: DocumentRow, access: Access, language: str) -> dict[str, Any]:
    return {
        "doc_id": row.doc_id,
        "title": row.title(language),
        "description": row.description(language),
        "access": access_item(access),
    }


def _has_template(row: DocumentRow) -> bool:
    return bool(row.version) and row.doc_id != WITHOUT_TEMPLATE


def _sample(doc: DocumentType, language: str) -> Any:
    """In the language asked for, else in the other one."""
    return doc.samples.get(language) or next(iter(doc.samples.values()), None)


_FIELDS: Mapping[str, Schema] = {
    "doc_id": TEXT,
    "title": TEXT,
    "description": TEXT,
    "access": ACCESS,
}
OPERATIONS = (
    Operation(
        method="GET",
        path="/documents",
        endpoint=list_documents,
        tag="documents",
        summary="lists the documents that can be printed",
        query=_QUERY,
        answers={
            200: Answer(description="All of them.", schema=done(documents=array(record(_FIELDS))))
        },
    ),
    Operation(
        method="GET",
        path="/documents/{doc_id}",
        endpoint=show_document,
        tag="documents",
        summary="tells what data a document takes: its schema, and a sample that fits",
        query=_QUERY,
        answers={
            200: Answer(
                description="The document.",
                schema=done(**_FIELDS, version=TEXT, schema=ANYTHING, sample=nullable(ANYTHING)),
            )
        },
        errors=("document_not_found", "conflict", "storage_unavailable"),
    ),
)
