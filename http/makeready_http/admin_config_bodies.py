"""What the routes of versions of document types take and answer, as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping

from makeready.documents.designs import PAYLOAD_LIMIT_BYTES
from makeready.documents.wording import LANGUAGES
from makeready_http import operations
from makeready_http.operations import (
    ANYTHING,
    ID,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    array,
    done,
    nullable,
    record,
)

_NUMBER: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": 999_999_999,
    "description": "A version, by its number in its type.",
}
_PAYLOAD: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": PAYLOAD_LIMIT_BYTES,
    "description": "The design as JSON; see docs/document-types.md.",
}
_COMMENT: Schema = {
    "type": ["string", "null"],
    "maxLength": 2000,
    "description": "Why; kept with the version and in the audit log.",
}
DRAFT = record({}, {"payload_text": _PAYLOAD, "version": _NUMBER, "comment": _COMMENT})
UPDATE = record({"version": _NUMBER, "payload_text": _PAYLOAD}, {"comment": _COMMENT})
VERSION_ONLY = record({"version": _NUMBER})
DRY_RUN = record(
    {"version": _NUMBER},
    {
        "language": {"type": "string", "enum": list(LANGUAGES)},
        "data": {**ANYTHING, "description": "What is printed; else a sample of the version."},
    },
)
PUBLISH = record({"version": _NUMBER}, {"comment": _COMMENT})
ROLLBACK = record({}, {"comment": _COMMENT})

_PROBLEM = record({"code": TEXT, "path": TEXT, "message": TEXT, "hint": TEXT})
VERSION: Mapping[str, Schema] = {
    "version": WHOLE,
    "hash": TEXT,
    "origin": {"type": "string", "enum": ["shipped", "staff"]},
    "status": {
        "type": "string",
        "enum": ["draft", "valid", "invalid", "published", "retired"],
    },
    "errors": array(_PROBLEM),
    "comment": nullable(TEXT),
    "made_by": TEXT,
    "created_at": TIME,
    "changed_at": TIME,
    "checked_at": nullable(TIME),
    "published_at": nullable(TIME),
    "trial_job_id": nullable(ID),
    "is_tried": TRUTH,
}
PAGE: Mapping[str, Schema] = {
    "limit": operations.PAGE["limit"],
    "after": {**_NUMBER, "description": "`next` of the page before."},
}
ONE_VERSION = done(key=TEXT, version=record(VERSION))
VERSIONS = done(key=TEXT, versions=array(record(VERSION)), next=nullable(TEXT))
WITH_PAYLOAD = done(key=TEXT, version=record(VERSION), payload=ANYTHING)
TRIAL = done(
    key=TEXT,
    version=WHOLE,
    hash=TEXT,
    job_id=ID,
    status={"type": "string", "enum": ["queued", "rendering", "ready"]},
    file_id=nullable(ID),
    pages=nullable(WHOLE),
)
