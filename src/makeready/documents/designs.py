"""Designs: document types as JSON, as staff write them and as the database keeps them; pure.

    {"titles": {"ru": …, "en": …}, "descriptions": {…}, "tier": "free", "enabled": true,
     "print": {…}, "schema": {…}, "words": {"ru": {…}, "en": {…}},
     "sources": {"template.html.j2": …}, "samples": {"ru": {…}, "en": {…}},
     "assets": {"logo.png": {…}}}

An asset is written as `{"media_type", "base64"}`, or as `{"sha256"}` when its bytes are stored
already; it is kept as `{"media_type", "sha256", "size_bytes"}`. What a design includes from what
is shipped becomes part of it when it is kept, so that a version prints the same for ever.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from makeready.documents.shipped import shared_sources
from makeready.documents.typesetting import Asset, DocumentType
from makeready.errors import Rejected
from makeready.print_options import from_json, to_json
from makeready.shapes import cut, problem

WITHOUT_TEMPLATE = "html"
"""What callers send as HTML is a document too; it has no design."""
PAYLOAD_LIMIT_BYTES = 16 * 1024 * 1024
ASSET_LIMIT_BYTES = 2 * 1024 * 1024
ASSETS_LIMIT_BYTES = 8 * 1024 * 1024
ASSETS_MAX = 50
MEDIA_TYPES: Mapping[str, bytes] = {
    "font/otf": b"OTTO",
    "font/ttf": b"\x00\x01\x00\x00",
    "font/woff": b"wOFF",
    "font/woff2": b"wOF2",
    "image/gif": b"GIF8",
    "image/jpeg": b"\xff\xd8\xff",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/svg+xml": b"<",
    "image/webp": b"RIFF",
    "text/css": b"",
}
"""What an asset may be, and what its bytes begin with."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile("[0-9a-f]{64}")

Problem = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What staff sent."""

    design: Mapping[str, Any]
    """Without the bytes of assets."""
    contents: Mapping[str, Asset]
    """Those bytes, by SHA-256."""


def read_payload(text: str) -> Payload:
    """A design as staff write it; raises Rejected with all that is wrong with its frame.

    What the design says is not judged here: a draft may be unfinished.
    """
    try:
        design = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        json.dumps(design, ensure_ascii=False).encode()  # not of half a surrogate pair
    except (ValueError, RecursionError) as error:
        raise _rejected(
            [problem("bad_json", "", f"the payload is not JSON: {error}", "")]
        ) from None
    if not isinstance(design, dict):
        raise _rejected([problem("wrong_type", "", "the payload is no object", "")])
    problems: list[Problem] = []
    contents: dict[str, Asset] = {}
    assets = design.get("assets", {})
    if not isinstance(assets, dict):
        problems.append(problem("wrong_type", "assets", "assets is no object", ""))
        assets = {}
    if len(assets) > ASSETS_MAX:
        text = f"{len(assets)} assets are too many"
        problems.append(problem("too_many", "assets", text, f"at most {ASSETS_MAX}"))
    kept = {}
    for name, facts in list(assets.items())[:ASSETS_MAX]:
        found = _read_asset(name, facts, contents)
        if "code" in found:
            problems.append(found)
        kept[name] = found
    total = sum(len(asset.content) for asset in contents.values())
    if total > ASSETS_LIMIT_BYTES:
        hint = f"at most {ASSETS_LIMIT_BYTES} bytes"
        problems.append(problem("too_large", "assets", f"the assets have {total} bytes", hint))
    if problems:
        raise _rejected(problems)
    return Payload(design=_completed({**design, "assets": kept}), contents=contents)


def design_of(doc: DocumentType) -> dict[str, Any]:
    """The design of a type that is loaded."""
    return _completed(
        {
            "titles": dict(doc.titles),
            "descriptions": dict(doc.descriptions),
            "tier": doc.tier,
            "enabled": doc.enabled,
            "print": to_json(doc.options),
            "schema": doc.schema,
            "words": doc.words,
            "sources": {
                name: text for name, text in doc.sources.items() if name not in shared_sources()
            },
            "samples": doc.samples,
            "assets": {
                name: {
                    "media_type": asset.media_type,
                    "sha256": hashlib.sha256(asset.content).hexdigest(),
                    "size_bytes": len(asset.content),
                }
                for name, asset in sorted(doc.assets.items())
            },
        }
    )


def type_of(
    doc_id: str, version: str, design: Mapping[str, Any], contents: Mapping[str, Asset]
) -> DocumentType:
    """The type that a design describes; assets without contents are empty files.

    Raises ValueError, TypeError or LookupError for a design that is not valid.
    """
    return DocumentType(
        id=doc_id,
        titles=design["titles"],
        descriptions=design.get("descriptions", {}),
        tier=design.get("tier", "free"),
        enabled=design.get("enabled", True),
        options=from_json(design.get("print", {})),
        schema=design["schema"],
        words=design["words"],
        sources=design["sources"],
        assets={
            name: Asset(
                media_type=facts["media_type"],
                content=contents[facts["sha256"]].content if facts["sha256"] in contents else b"",
            )
            for name, facts in design.get("assets", {}).items()
        },
        version=version,
        samples=design.get("samples", {}),
        is_foreign=True,
    )


def _read_asset(name: str, facts: Any, contents: dict[str, Asset]) -> dict[str, Any]:
    """An asset as it is kept, or the problem with it; its bytes go into `contents`."""
    path = f"assets.{cut(name)}"
    if not _NAME.fullmatch(name):
        hint = "letters, digits, dots, dashes, underscores; at most 100"
        return problem("bad_name", path, "an asset cannot have this name", hint)
    if not isinstance(facts, dict):
        return problem("wrong_type", path, "an asset is an object", "")
    media_type, text, digest = (facts.get(key) for key in ("media_type", "base64", "sha256"))
    if not isinstance(media_type, str) or media_type not in MEDIA_TYPES:
        hint = f"one of {', '.join(sorted(MEDIA_TYPES))}"
        return problem("not_allowed", f"{path}.media_type", "no media type of an asset", hint)
    if text is None and isinstance(digest, str) and _SHA256.fullmatch(digest):
        size = facts.get("size_bytes")
        return {"media_type": media_type, "sha256": digest} | (
            {"size_bytes": size} if isinstance(size, int) else {}
        )
    try:
        content = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (ValueError, binascii.Error):
        content = b""
    if not content:
        hint = "base64, or the sha256 of an asset that is stored"
        return problem("bad_format", path, "an asset needs its bytes", hint)
    if len(content) > ASSET_LIMIT_BYTES:
        hint = f"at most {ASSET_LIMIT_BYTES} bytes"
        return problem("too_large", path, f"the asset has {len(content)} bytes", hint)
    if not content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(MEDIA_TYPES[media_type]):
        return problem("wrong_content", path, f"the bytes are no {media_type}", "")
    digest = hashlib.sha256(content).hexdigest()
    contents[digest] = Asset(media_type=media_type, content=content)
    return {"media_type": media_type, "sha256": digest, "size_bytes": len(content)}


def _completed(design: dict[str, Any]) -> dict[str, Any]:
    """The design with what it includes of what is shipped."""
    own = design.get("sources")
    if not isinstance(own, dict):
        return design
    sources = dict(own)
    left = [text for text in sources.values() if isinstance(text, str)]
    while left:
        text = left.pop()
        for name, shared in shared_sources().items():
            if name not in sources and name in text:
                sources[name] = shared
                left.append(shared)
    return {**design, "sources": sources}


def _rejected(problems: list[Problem]) -> Rejected:
    return Rejected("the payload cannot be read", details={"problems": problems})


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{cut(text)} is too large")
    return number
