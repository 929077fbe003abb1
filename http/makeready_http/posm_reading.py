"""What is read and checked before anything is written: PDFs, settings, the data of tables."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from makeready import posm_templates, stamping
from makeready.cards import discovery
from makeready.cards.values import Row
from makeready.errors import Rejected
from makeready.posm_templates import Template
from makeready.shapes import problem
from makeready.staff import Staff
from makeready.stamping import Problem as Finding
from makeready.stamping import TemplateFacts
from makeready.storage import ObjectFacts
from makeready_http.answers import Json
from makeready_http.auth import acting
from makeready_http.inputs import path_uuid
from makeready_http.posm_items import template_item
from makeready_http.posm_parts import PDF, finding_items, refuse_errors, told
from makeready_http.posm_words import in_words
from makeready_http.services import Services, services_of
from makeready_http.versions import etag

ASSETS_MOST = 50
DEPTH_MOST = 50

_ASSET = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTemplate:
    """A PDF that may be a template."""

    content: bytes
    sha256: bytes
    facts: TemplateFacts


async def read_template(request: Request, content: bytes) -> ReadTemplate:
    """Opens a PDF once; 413, 415 or 422 for what cannot be printed on."""
    with told(request):
        facts = await stamping.inspect(content)
    return ReadTemplate(content=content, sha256=hashlib.sha256(content).digest(), facts=facts)


async def stored_template(services: Services, read: ReadTemplate) -> ObjectFacts:
    """Puts the PDF under a key of its own; the scan for orphans finds it if no row does.

    Equal bytes may be on their way out of the store under theirs.
    """
    digest = read.sha256.hex()
    services.blobs.keep(digest, read.content)
    key = f"posm/templates/{digest}/{uuid.uuid4()}.pdf"
    return await services.storage.put(key, read.content, media_type=PDF)


def starting_settings(
    facts: TemplateFacts, given: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any], str]:
    """The settings, and where they come from: the request, the PDF's form, or nowhere yet."""
    if given is not None:
        return given, "request"
    found = discovery.settings_from(facts)
    return found, "form_fields" if found else "none"


async def checked(
    request: Request, facts: TemplateFacts, settings: Mapping[str, Any]
) -> list[Finding]:
    """Warnings of settings with sample data; 422 with everything when there are errors."""
    found = await findings_of(services_of(request), facts, settings, None)
    refuse_errors(request, found)
    return found


async def findings_of(
    services: Services,
    facts: TemplateFacts,
    settings: Mapping[str, Any],
    rows: Sequence[Row] | None,
) -> list[Finding]:
    """Everything that is to be said of settings with these tables; None: with sample data."""
    refuse_deep(settings)
    assets = await assets_of(services, settings)
    return await stamping.problems(facts, settings, rows or (), assets, is_sample=rows is None)


async def assets_of(services: Services, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """The uploaded fonts and pictures that settings name, as far as there are such."""
    names = sorted(set(_asset_names(settings)))[:ASSETS_MOST]
    if not names:
        return {}
    hashes = [bytes.fromhex(name.removeprefix("sha256:")) for name in names]
    found = await posm_templates.assets(services.pool, hashes=hashes, limit=len(hashes))
    return {
        asset.reference: await services.blobs.get(
            asset.sha256.hex(), bucket=asset.bucket, key=asset.key
        )
        for asset in found
    }


def refuse_deep(settings: Any) -> None:
    """Rejected for what is nested as no settings are: much deeper, nothing here could walk it."""
    level, depth = [settings], 0
    while level:
        depth += 1
        if depth > DEPTH_MOST:
            hint = f"at most {DEPTH_MOST} levels"
            found = problem("too_deep", "settings", "the settings are nested too deeply", hint)
            raise Rejected("settings do not fit", details={"problems": [found]})
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]


def _asset_names(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        if _ASSET.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _asset_names(each)
    elif isinstance(value, list):
        for each in value:
            yield from _asset_names(each)


async def asked_template(request: Request) -> Template:
    """The template of the path; 404."""
    template = path_uuid(request, "template_id", "template_not_found")
    return await posm_templates.read(services_of(request).pool, template)


async def changed_template(
    request: Request,
    member: Staff,
    template: UUID,
    changes: Mapping[str, Any],
    *,
    known: int | None,
    findings: Sequence[Finding] = (),
    stored: ObjectFacts | None = None,
    facts: TemplateFacts | None = None,
) -> Response:
    """Writes what was checked, and answers with the template as it is then."""
    with in_words(request):
        async with acting(services_of(request), member, request) as connection:
            await posm_templates.change(
                connection,
                template,
                changes,
                known=known,
                stored=stored,
                inspection=None if facts is None else stamping.facts_json(facts),
            )
            found = await posm_templates.read(connection, template)
    body = {
        "ok": True,
        "template": template_item(found),
        "findings": finding_items(request, findings),
    }
    return Json(body, headers=etag(found.version))


def facts_of(template: Template) -> TemplateFacts:
    """What was found in the template's PDF when it came."""
    return stamping.facts_of(template.inspection)


async def pdf_of(services: Services, template: Template) -> bytes:
    """The bytes of a template's PDF."""
    return await services.blobs.get(
        template.sha256.hex(), bucket=template.bucket, key=template.key
    )
