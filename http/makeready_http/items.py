"""How records look in answers: the one place that names public fields of the Library."""

from __future__ import annotations

from typing import Any

from makeready import library
from makeready.config import Settings
from makeready.documents.register import Access, access_of
from makeready_http.operations import ID, TEXT, TIME, TRUTH, WHOLE, array, nullable, record

STATUS = {"type": "string", "enum": ["none", "queued", "rendering", "ready", "failed"]}
ACCESS = record({"tier": TEXT, "enabled": TRUTH, "is_locked": TRUTH, "reason": nullable(TEXT)})
DOCUMENT = record(
    {
        "doc_id": TEXT,
        "title": TEXT,
        "status": STATUS,
        "job_id": nullable(ID),
        "file_id": nullable(ID),
        "last_good_file_id": nullable(ID),
        "attempts": WHOLE,
        "last_error": nullable(TEXT),
        "access": ACCESS,
    }
)
JOB_FIELDS = {
    "job_id": ID,
    "pack_id": ID,
    "doc_id": TEXT,
    "status": STATUS,
    "file_id": nullable(ID),
    "attempts": WHOLE,
    "max_attempts": WHOLE,
    "last_error": nullable(TEXT),
    "warnings": array(TEXT),
}
FILE = record(
    {
        "file_id": ID,
        "artifact_id": ID,
        "kind": TEXT,
        "created_at": TIME,
        "content_type": TEXT,
        "size_bytes": WHOLE,
        "doc_id": nullable(TEXT),
        "pack_id": nullable(ID),
        "status": TEXT,
    }
)
PACK_FIELDS = {
    "pack_id": ID,
    "session_id": ID,
    "created_at": TIME,
    "language": TEXT,
    "open_count": WHOLE,
}
PACK = record(PACK_FIELDS)
BUNDLE = {
    "bundle_status": {"type": "string", "enum": ["none", "queued", "ready", "failed"]},
    "bundle_error": nullable(TEXT),
    "pack_file_id": nullable(ID),
    "zip_file_id": nullable(ID),
}


def access_item(access: Access) -> dict[str, Any]:
    """What users are told about access; paid documents are not refused, only shown as such."""
    return {
        "tier": access.tier,
        "enabled": access.is_enabled,
        "is_locked": access.reason is not None,
        "reason": access.reason,
    }


def document_item(state: library.DocumentState, settings: Settings) -> dict[str, Any]:
    """A document in a list (RND-009)."""
    access = access_of(state.tier, is_enabled=state.is_enabled, settings=settings)
    return {
        "doc_id": state.doc_id,
        "title": state.title,
        "status": state.status,
        "job_id": state.job_id,
        "file_id": state.file_id,
        "last_good_file_id": state.last_good_file_id,
        "attempts": state.attempts,
        "last_error": state.last_error,
        "access": access_item(access),
    }


def job_item(job: library.RenderJob) -> dict[str, Any]:
    """One render."""
    return {
        "job_id": job.job_id,
        "pack_id": job.pack_id,
        "doc_id": job.doc_id,
        "status": job.status,
        "file_id": job.file_id,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "last_error": job.last_error,
        "warnings": list(job.warnings),
    }


def file_item(row: library.FileRow) -> dict[str, Any]:
    """A file in a list (RND-030)."""
    return {
        "file_id": row.file_id,
        "artifact_id": row.artifact_id,
        "kind": row.kind,
        "created_at": row.created_at,
        "content_type": row.content_type,
        "size_bytes": row.size_bytes,
        "doc_id": row.doc_id,
        "pack_id": row.pack_id,
        "status": row.status,
    }


def pack_item(row: library.PackRow) -> dict[str, Any]:
    """A pack in a list."""
    return {
        "pack_id": row.pack_id,
        "session_id": row.session_id,
        "created_at": row.created_at,
        "language": row.language,
        "open_count": row.open_count,
    }


def pack_facts_item(pack: library.PackFacts) -> dict[str, Any]:
    """One pack with its bundle."""
    return pack_item(pack) | bundle_item(pack)


def bundle_item(pack: library.PackFacts) -> dict[str, Any]:
    """What the documents of a pack were bundled into."""
    return {
        "bundle_status": pack.bundle_status,
        "bundle_error": pack.bundle_error,
        "pack_file_id": pack.pack_file_id,
        "zip_file_id": pack.zip_file_id,
    }
