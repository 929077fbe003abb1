"""The operations of versions of document types; what they do is in `admin_config`."""

from __future__ import annotations

from typing import Any

from makeready_http import admin_config
from makeready_http import admin_config_bodies as bodies
from makeready_http.admin_config import READ, WRITE
from makeready_http.operations import Answer, Operation, admin_operation, done

_UNKNOWN = ("invalid_request", "document_not_found")
_ONE = Answer(
    description="The version as it is now.",
    schema=bodies.ONE_VERSION,
    headers=("ETag",),
)


def _post(step: str, endpoint: Any, summary: str, **facts: Any) -> Operation:
    facts = {"answers": {200: _ONE}, "errors": _UNKNOWN} | facts
    return admin_operation(
        method="POST",
        path=f"/admin/config/{{key}}/{step}",
        endpoint=endpoint,
        needs=WRITE,
        summary=summary,
        **facts,
    )


OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/config/{key}/versions",
        endpoint=admin_config.list_versions,
        needs=READ,
        summary="lists the versions of a document type, newest first",
        query=bodies.PAGE,
        answers={200: Answer(description="A page.", schema=bodies.VERSIONS)},
        errors=_UNKNOWN,
    ),
    admin_operation(
        method="GET",
        path="/admin/config/{key}/versions/{version}",
        endpoint=admin_config.show_version,
        needs=READ,
        summary="shows a version with its payload, ready to be changed and sent back",
        answers={
            200: Answer(
                description="The version.",
                schema=bodies.WITH_PAYLOAD,
                headers=("ETag",),
            )
        },
        errors=_UNKNOWN,
    ),
    admin_operation(
        method="DELETE",
        path="/admin/config/{key}/versions/{version}",
        endpoint=admin_config.discard_draft,
        needs=WRITE,
        summary="throws a draft away, unless `If-Match` names an older one; "
        "what was in force once stays (409 `conflict`)",
        answers={200: Answer(description="It is gone.", schema=done())},
        errors=(*_UNKNOWN, "stale_version", "conflict"),
    ),
    _post(
        "draft",
        admin_config.make_draft,
        "makes a draft: of a payload, of a version, or of what is in force; "
        "the first draft makes the type",
        body=bodies.DRAFT,
        answers={201: _ONE},
        errors=(*_UNKNOWN, "storage_unavailable", "conflict"),
    ),
    _post(
        "update",
        admin_config.update_draft,
        "replaces the payload of a draft, unless `If-Match` names an older one",
        body=bodies.UPDATE,
        errors=(*_UNKNOWN, "stale_version", "conflict", "storage_unavailable"),
    ),
    _post(
        "validate",
        admin_config.validate,
        "compiles a version and tries its samples; `errors` has all that is wrong",
        body=bodies.VERSION_ONLY,
        errors=(*_UNKNOWN, "stale_version"),
    ),
    _post(
        "dry-run",
        admin_config.dry_run,
        "prints a version that is valid, as a trial; publishing asks for one that ended well",
        body=bodies.DRY_RUN,
        answers={
            200: Answer(description="It was printed.", schema=bodies.TRIAL),
            202: Answer(
                description="It is being printed.",
                schema=bodies.TRIAL,
                headers=("Location",),
            ),
        },
        errors=(*_UNKNOWN, "stale_version", "conflict", "queue_busy"),
        can_wait=True,
    ),
    _post(
        "publish",
        admin_config.publish,
        "puts a version in force: valid, and printed by a trial (else 400 `publish_forbidden`)",
        body=bodies.PUBLISH,
        errors=(*_UNKNOWN, "stale_version"),
    ),
    _post(
        "rollback",
        admin_config.rollback,
        "puts the version that was published before back in force (else 400 `no_rollback`)",
        body=bodies.ROLLBACK,
    ),
)
