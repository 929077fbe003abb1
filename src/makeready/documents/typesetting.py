"""What a document type is, and how data becomes HTML by it; pure.

Templates run in a sandbox that escapes everything and refuses a name that is not there; they see
the data, the words of one language and the filters of `wording` and `figures`, and nothing else.
Neither the sandbox nor the checks bound the time that a template or a pattern takes: what others
brought is set in `foreign`, in a process that can be killed.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jinja2

from makeready.documents.templating import TemplateSandbox
from makeready.errors import MakereadyError, Rejected
from makeready.print_options import PrintOptions
from makeready.shapes import problem
from makeready.validation import find_problems

ASSET_ORIGIN = "https://pack.invalid/"  # answered by the engine, never by a network
DATA_LIMIT_BYTES = 4 * 1024 * 1024
TEMPLATE_LIMIT_BYTES = 1024 * 1024
HTML_LIMIT_BYTES = 32 * 1024 * 1024
TEMPLATE = "template.html.j2"
SANDBOXES_KEPT = 64


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
    """One version of a document type."""

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
    samples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Data that fits the schema, by language."""
    is_foreign: bool = False
    """Not shipped: nobody has read its template, see `foreign`."""

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
        for piece in _sandbox(doc, lang).pieces(TEMPLATE, values):
            size += len(piece.encode(errors="replace"))
            if size > HTML_LIMIT_BYTES:
                raise TemplateFailed(f"{doc.id}: the HTML is above {HTML_LIMIT_BYTES} bytes")
            pieces.append(piece)
    except (
        jinja2.TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise TemplateFailed(f"{doc.id}: {type(error).__name__}: {error}") from error
    return Html(html="".join(pieces), assets=used)


_sandboxes: OrderedDict[tuple[str, str, str], TemplateSandbox] = OrderedDict()


def _sandbox(doc: DocumentType, lang: str) -> TemplateSandbox:
    """The compiled templates, kept: compiling takes longer than most documents."""
    key = (doc.id, doc.version, lang)
    made = _sandboxes.get(key)
    if made is None:
        made = _sandboxes[key] = TemplateSandbox(doc.sources, lang)
        while len(_sandboxes) > SANDBOXES_KEPT:
            _sandboxes.popitem(last=False)
    return made
