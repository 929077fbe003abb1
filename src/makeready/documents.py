"""Document types: template, schema of the data, print options, assets; and the HTML of them.

A type is a folder of `document_types/`: `type.json`, `template.html.j2`, `schema.json`,
`words.<lang>.json`, `assets/` and sample data. Types of one family (`"family"` in `type.json`)
lay schema, words and samples over what `_shared/<family>.*` holds for all of them. Templates run
in a sandbox that escapes everything and refuses a name that is not there; they see the data, the
words of one language and the filters of `wording` and `figures`, and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import jinja2

from makeready.errors import MakereadyError, NotFound, Rejected
from makeready.print_options import PrintOptions, from_json
from makeready.shapes import problem
from makeready.templating import TemplateSandbox
from makeready.validation import check_schema, find_problems
from makeready.wording import LANGUAGES

ASSET_ORIGIN = "https://pack.invalid/"  # answered by the engine, never by a network
DATA_LIMIT_BYTES = 4 * 1024 * 1024
TEMPLATE_LIMIT_BYTES = 1024 * 1024
HTML_LIMIT_BYTES = 32 * 1024 * 1024
_TEMPLATE = "template.html.j2"
_SHARED = "_shared"
_FONTS = "_fonts"


class TemplateFailed(MakereadyError):
    """A template could not turn valid data into HTML; trying again gives the same."""

    code = "template_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file that a document may ask for under `ASSET_ORIGIN`."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentType:
    """One entry of the registry."""

    id: str
    titles: Mapping[str, str]
    descriptions: Mapping[str, str]
    tier: str
    enabled: bool
    options: PrintOptions
    schema: Mapping[str, Any]
    words: Mapping[str, Mapping[str, Any]]
    """What the template says by itself, by language."""
    sources: Mapping[str, str]
    """The template and what it includes, by name."""
    assets: Mapping[str, Asset]
    version: str
    """Hash of everything above: it changes when the printed document may change."""

    def title(self, lang: str) -> str:
        """The title in `lang`, else in English."""
        return self.titles.get(lang, self.titles["en"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Html:
    """A document ready for the engine."""

    html: str
    assets: Mapping[str, Asset]
    """Those that the document asks for."""

    def fingerprint(self, options: PrintOptions, engine_version: str) -> str:
        """Equal fingerprints mean equal PDFs: the engine would print the same bytes again."""
        digest = hashlib.sha256(f"{engine_version}\0{options}\0".encode())
        digest.update(hashlib.sha256(self.html.encode()).digest())
        for name, asset in sorted(self.assets.items()):
            digest.update(f"{name}\0{asset.media_type}\0".encode())
            digest.update(hashlib.sha256(asset.content).digest())
        return digest.hexdigest()


@functools.cache
def registry() -> Mapping[str, DocumentType]:
    """All document types that are shipped, by id; read once a process."""
    folder = _root()
    shared = _texts(folder / _SHARED, prefix="shared/")
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    return {name: _load(folder / name, shared) for name in found if not name.startswith("_")}


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


def check_data(doc: DocumentType, data: Any) -> None:
    """Checks data against the schema; raises Rejected with all in `details["problems"]`.

    A problem is {code, path, message, hint}; see `validation.find_problems`.
    """
    size = len(json.dumps(data, ensure_ascii=False, default=str).encode(errors="replace"))
    if size > DATA_LIMIT_BYTES:
        hint = f"at most {DATA_LIMIT_BYTES} bytes"
        problems = [problem("too_large", "", f"the data has {size} bytes", hint)]
    else:
        problems = find_problems(doc.schema, data)
    if problems:
        raise Rejected(
            f"the data does not fit {doc.id}: {len(problems)} problems",
            details={"doc_id": doc.id, "problems": problems},
        )


def build_html(doc: DocumentType, data: Mapping[str, Any], lang: str) -> Html:
    """The HTML of one document; `data` has passed `check_data`. Raises TemplateFailed."""
    if lang not in doc.words:
        raise TemplateFailed(f"{doc.id} has no words in {lang!r}, only in {', '.join(doc.words)}")
    used: dict[str, Asset] = {}

    def asset(name: str) -> str:
        used[name] = doc.assets[name]
        return ASSET_ORIGIN + name

    values = {"data": data, "t": doc.words[lang], "asset": asset}
    pieces, size = [], 0
    try:
        for piece in _sandbox(doc, lang).pieces(_TEMPLATE, values):
            size += len(piece.encode(errors="replace"))
            if size > HTML_LIMIT_BYTES:
                raise TemplateFailed(f"{doc.id}: the HTML is above {HTML_LIMIT_BYTES} bytes")
            pieces.append(piece)
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise TemplateFailed(f"{doc.id}: {type(error).__name__}: {error}") from error
    return Html(html="".join(pieces), assets=used)


_sandboxes: dict[tuple[str, str], TemplateSandbox] = {}


def _sandbox(doc: DocumentType, lang: str) -> TemplateSandbox:
    made = _sandboxes.get((doc.version, lang))
    if made is None:
        made = _sandboxes[doc.version, lang] = TemplateSandbox(doc.sources, lang)
    return made


def _load(folder: Traversable, shared: Mapping[str, str]) -> DocumentType:
    facts = _read(folder / "type.json")
    sources = {**shared, **_texts(folder, prefix="")}
    if any(len(text.encode()) > TEMPLATE_LIMIT_BYTES for text in sources.values()):
        raise ValueError(f"{folder.name}: a template is above {TEMPLATE_LIMIT_BYTES} bytes")
    schema = _part(folder, facts, "schema.json")
    check_schema(schema)
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
