"""Reads the design of a document type and names all that is wrong with it.

A design comes from people who try things out: a template may not compile, a schema may refer to
itself, a sample may not fit. Each problem is {code, path, message, hint}. How long it takes is not
bounded here; `foreign` asks for it in a process that can be killed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
from jsonschema import SchemaError

from makeready.documents.designs import type_of
from makeready.documents.templating import TemplateSandbox
from makeready.documents.typesetting import (
    TEMPLATE,
    TEMPLATE_LIMIT_BYTES,
    DocumentType,
    TemplateFailed,
    build_html,
    check_data,
)
from makeready.documents.wording import LANGUAGES
from makeready.errors import Rejected
from makeready.print_options import from_json
from makeready.shapes import MAX_PROBLEMS, cut, problem
from makeready.validation import check_schema, find_problems

PATTERN_LIMIT = 500
_SOURCE_NAME = re.compile(r"(?:[a-z0-9_]+/)?[a-z0-9][a-z0-9_.-]{0,79}\.(?:j2|css)", re.IGNORECASE)
_BY_LANGUAGE = {lang: {"type": "string", "minLength": 1, "maxLength": 200} for lang in LANGUAGES}
_ANY_OBJECT = {"type": "object"}
_FRAME: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["titles", "schema", "words", "sources", "samples"],
    "properties": {
        "titles": {
            "type": "object",
            "additionalProperties": False,
            "required": list(LANGUAGES),
            "properties": _BY_LANGUAGE,
        },
        "descriptions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {lang: {"type": "string", "maxLength": 2000} for lang in LANGUAGES},
        },
        "tier": {"type": "string", "enum": ["free", "paid"]},
        "enabled": {"type": "boolean"},
        "print": _ANY_OBJECT,
        "schema": _ANY_OBJECT,
        "words": {
            "type": "object",
            "additionalProperties": False,
            "required": list(LANGUAGES),
            "properties": dict.fromkeys(LANGUAGES, _ANY_OBJECT),
        },
        "sources": _ANY_OBJECT,
        "samples": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(LANGUAGES, _ANY_OBJECT),
        },
        "assets": _ANY_OBJECT,
    },
}

Problem = dict[str, str]


def design_problems(doc_id: str, design: Mapping[str, Any]) -> list[Problem]:
    """All that keeps a design from being published; none when it is valid."""
    found = find_problems(_FRAME, design)
    if found:
        return found
    found = [*_source_problems(design["sources"]), *_option_problems(design.get("print", {}))]
    found += _schema_problems(design["schema"])
    if not found:
        # Compiled templates are kept by version: two contents must never share one.
        version = hashlib.sha256(json.dumps(design).encode()).hexdigest()
        doc = type_of(doc_id, version, design, {})
        found = [*_template_problems(doc)] or [*_sample_problems(doc)]
    return found[:MAX_PROBLEMS]


def _source_problems(sources: Mapping[str, Any]) -> Iterator[Problem]:
    if TEMPLATE not in sources:
        yield problem("missing_field", "sources", f"{TEMPLATE} is missing", "the document itself")
    for name, text in sources.items():
        path = f"sources.{cut(name)}"
        if not _SOURCE_NAME.fullmatch(name):
            yield problem("bad_name", path, "a source cannot have this name", "part.html.j2")
        elif not isinstance(text, str):
            yield problem("wrong_type", path, "a source is a text", "")
        elif len(text.encode(errors="replace")) > TEMPLATE_LIMIT_BYTES:
            hint = f"at most {TEMPLATE_LIMIT_BYTES} bytes; pictures belong into assets"
            yield problem("too_large", path, "the source is too large", hint)


def _option_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        from_json(options)
    except Rejected as error:
        for each in error.details["problems"]:
            yield {**each, "path": f"print.{each['path']}".removesuffix(".")}


def _schema_problems(schema: Mapping[str, Any]) -> list[Problem]:
    try:
        check_schema(schema)
    except SchemaError as error:
        path = ".".join(["schema", *map(str, error.absolute_path)])
        return [problem("bad_schema", path, cut(error.message), "JSON Schema, draft 2020-12")]
    except ValueError as error:
        return [problem("unsupported", "schema", str(error), "see docs/document-types.md")]
    except re.error as error:
        return [problem("bad_pattern", "schema", f"a pattern is none: {error}", "")]
    except RecursionError:
        return [problem("too_deep", "schema", "the schema is nested too deeply", "")]
    except (LookupError, TypeError, AttributeError):
        text = "a $ref leads nowhere, or to what is no schema"
        return [problem("bad_reference", "schema", text, "#/$defs/<name>")]
    found = [
        problem("too_long", "schema", f"the pattern {cut(text)} is too long", f"{PATTERN_LIMIT}")
        for text in _patterns(schema)
        if len(text) > PATTERN_LIMIT
    ]
    if _has_loop(schema):
        text = "a $ref comes back to itself without going into the data"
        found.append(
            problem("endless_reference", "schema", text, "put properties or items between")
        )
    return found


def _patterns(schema: Any) -> Iterator[str]:
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                yield part["pattern"]
            left += part.values()
        elif isinstance(part, list):
            left += part


def _has_loop(schema: Mapping[str, Any]) -> bool:
    """Whether judging one value would ask for the same definition again, and so for ever."""
    done: set[str] = set()

    def visits(part: Any, above: tuple[str, ...]) -> bool:
        if not isinstance(part, Mapping):
            return False
        address = part.get("$ref")
        if isinstance(address, str):
            if address in above:
                return True
            if address not in done and visits(_at(schema, address), (*above, address)):
                return True
            done.add(address)
        same = [*part.get("allOf", ()), *part.get("anyOf", ()), part.get("if"), part.get("then")]
        return any(visits(each, above) for each in same)

    parts = [schema, *schema.get("$defs", {}).values()]
    return any(visits(part, ()) for part in parts)


def _at(schema: Mapping[str, Any], address: str) -> Any:
    part: Any = schema
    for step in address.removeprefix("#/").split("/"):
        part = part[step]
    return part


def _template_problems(doc: DocumentType) -> Iterator[Problem]:
    sandbox = TemplateSandbox(doc.sources, LANGUAGES[0])
    for name in sorted(doc.sources):
        path = f"sources.{name}"
        try:
            sandbox.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            text = f"line {error.lineno}: {error.message}"
            yield problem("template_syntax", path, text, "")
        except (ArithmeticError, MemoryError, RecursionError, SyntaxError, ValueError) as error:
            yield problem("template_error", path, f"it does not compile: {error}", "")


def _sample_problems(doc: DocumentType) -> Iterator[Problem]:
    """What the samples show; one that is there for one language only has to do in both."""
    if not doc.samples:
        hint = "data for samples.ru or samples.en"
        yield problem("missing_field", "samples", "there is no sample", hint)
    for lang in LANGUAGES:
        name = lang if lang in doc.samples else next(iter(doc.samples), None)
        if name is None:
            return
        path = f"samples.{name}"
        try:
            if name == lang:
                check_data(doc, doc.samples[name])
            build_html(doc, doc.samples[name], lang)
        except Rejected as error:
            for each in error.details["problems"]:
                inner = f"{path}.{each['path']}" if each["path"] else path
                yield {**each, "path": inner}
        except TemplateFailed as error:
            text = str(error).removeprefix(f"{doc.id}: ")
            yield problem("template_error", path, f"printed in {lang}: {text}", "")
        except RecursionError:
            yield problem("too_deep", path, "checking the sample never ends", "look at each $ref")
