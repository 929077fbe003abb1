"""The document types that are shipped.

A type is a folder of `document_types/`: `type.json`, `template.html.j2`, `schema.json`,
`words.<lang>.json`, `assets/` and sample data. Types of one family (`"family"` in `type.json`)
lay schema, words and samples over what `_shared/<family>.*` holds for all of them. What a type is,
and what is done with it, is in `typesetting`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mimetypes
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from makeready.documents.typesetting import (
    TEMPLATE_LIMIT_BYTES,
    Asset,
    DocumentType,
)
from makeready.documents.wording import LANGUAGES
from makeready.errors import NotFound
from makeready.print_options import from_json

_SHARED = "_shared"
_FONTS = "_fonts"


@functools.cache
def registry() -> Mapping[str, DocumentType]:
    """All document types that are shipped, by id; read once a process."""
    folder = _root()
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    return {name: _load(folder / name) for name in found if not name.startswith("_")}


@functools.cache
def shared_sources() -> Mapping[str, str]:
    """What templates may include beside what they bring, by name."""
    return _texts(_root() / _SHARED, prefix="shared/")


def document_type(name: str) -> DocumentType:
    """The type with this id; raises NotFound."""
    found = registry().get(name)
    if found is None:
        known = ", ".join(registry())
        raise NotFound(
            f"there is no document type {name!r}, only {known}", details={"doc_id": name}
        )
    return found


def sample(doc: DocumentType, lang: str) -> dict[str, Any]:
    """The sample data that is shipped with a type, in one language."""
    folder = _root() / doc.id
    return _part(folder, _read(folder / "type.json"), f"sample.{lang}.json")


@functools.cache
def font_files() -> Mapping[str, bytes]:
    """The fonts that every engine must offer, by file name."""
    folder = _root() / _FONTS
    return {
        entry.name: entry.read_bytes()
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".ttf")
    }


def _load(folder: Traversable) -> DocumentType:
    """A type as it was tested: nothing is proofread, since that takes longer than to print it."""
    facts = _read(folder / "type.json")
    sources = {**shared_sources(), **_texts(folder, prefix="")}
    if any(len(text.encode()) > TEMPLATE_LIMIT_BYTES for text in sources.values()):
        raise ValueError(f"{folder.name}: a template is above {TEMPLATE_LIMIT_BYTES} bytes")
    schema = _part(folder, facts, "schema.json")
    words = {lang: _part(folder, facts, f"words.{lang}.json") for lang in LANGUAGES}
    assets = _assets(folder / "assets")
    return DocumentType(
        id=folder.name,
        titles=facts["titles"],
        descriptions=facts["descriptions"],
        tier=facts["tier"],
        enabled=facts["enabled"],
        options=from_json(facts.get("print", {})),
        schema=schema,
        words=words,
        sources=sources,
        assets=assets,
        version=_version(facts, schema, words, sources, assets),
        samples={
            lang: _part(folder, facts, f"sample.{lang}.json")
            for lang in LANGUAGES
            if (folder / f"sample.{lang}.json").is_file()
        },
    )


def _root() -> Traversable:
    return files("makeready") / "document_types"


def _read(path: Traversable) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _part(folder: Traversable, facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A JSON file of a type, over what its family shares under that name."""
    own = _read(folder / name)
    if "family" not in facts:
        return own
    return dict(_over(own, _read(_root() / _SHARED / f"{facts['family']}.{name}")))


def _over(own: Any, shared: Any) -> Any:
    """Objects are merged, lists joined; else what the type itself says wins."""
    if isinstance(own, dict) and isinstance(shared, dict):
        both = {key: _over(own[key], shared[key]) for key in shared.keys() & own.keys()}
        return {**shared, **own, **both}
    if isinstance(own, list) and isinstance(shared, list):
        return [*shared, *own]
    return own


def _texts(folder: Traversable, *, prefix: str) -> dict[str, str]:
    return {
        prefix + entry.name: entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith((".j2", ".css"))
    }


def _assets(folder: Traversable) -> dict[str, Asset]:
    if not folder.is_dir():
        return {}
    return {
        entry.name: Asset(
            media_type=mimetypes.guess_type(entry.name)[0] or "application/octet-stream",
            content=entry.read_bytes(),
        )
        for entry in folder.iterdir()
    }


def _version(
    facts: Any, schema: Any, words: Any, sources: Mapping[str, str], assets: Mapping[str, Asset]
) -> str:
    digest = hashlib.sha256()
    for part in (facts, schema, words, sources):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\0")
    for name, entry in sorted(assets.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(entry.content).digest())
    return digest.hexdigest()[:32]
