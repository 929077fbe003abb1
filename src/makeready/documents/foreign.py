"""Sets documents of types that nobody here has read, in a process that can be killed.

A template may loop for hours, an expression may want all memory while it is compiled, a pattern
may take years to match. No sandbox bounds that, and a thread cannot be stopped. So what was not
shipped is checked, compiled and set in a helper process with a deadline, one document at a time.
What is shipped is set in a thread: its templates are known, and it needs no copy of its data.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

from makeready.aside import Helper, HelperLost, serve
from makeready.documents.designs import type_of
from makeready.documents.proofreading import design_problems
from makeready.documents.typesetting import (
    DocumentType,
    Html,
    TemplateFailed,
    build_html,
    check_data,
)
from makeready.errors import Rejected
from makeready.shapes import problem

SET_TIMEOUT_S = 10.0
CHECK_TIMEOUT_S = 5.0
PROOF_TIMEOUT_S = 20.0
ASKERS = 4  # that wait in a thread for the helper; the others wait in the event loop

_askers: RunVar[anyio.Semaphore] = RunVar("makeready_foreign_askers")


async def check(
    doc: DocumentType, data: Any, *, limiter: anyio.CapacityLimiter | None = None
) -> None:
    """`check_data`, wherever it is safe; raises Rejected, also when it takes too long."""
    if not doc.is_foreign:
        await to_thread.run_sync(check_data, doc, data, limiter=limiter)
        return
    try:
        answer = await _ask(doc, {"do": "check", "data": data}, CHECK_TIMEOUT_S)
    except (TimeoutError, HelperLost):
        text = f"checking the data takes more than {CHECK_TIMEOUT_S:.0f} s or too much memory"
        hint = "look at the patterns of the schema"
        answer = {"problems": [problem("too_slow", "", text, hint)]}
    _raise_problems(doc, answer)


async def set_document(doc: DocumentType, data: Mapping[str, Any], lang: str) -> Html:
    """Checks the data and makes the HTML of it; raises Rejected or TemplateFailed."""
    if not doc.is_foreign:
        return await to_thread.run_sync(_set, doc, data, lang)
    try:
        answer = await _ask(doc, {"do": "set", "data": data, "lang": lang}, SET_TIMEOUT_S)
    except TimeoutError:
        text = f"{doc.id}: the template takes more than {SET_TIMEOUT_S:.0f} s"
        raise TemplateFailed(text) from None
    except HelperLost:
        raise TemplateFailed(f"{doc.id}: the template takes too much memory") from None
    if "failed" in answer:
        raise TemplateFailed(answer["failed"])
    _raise_problems(doc, answer)
    assets = {name: doc.assets[name] for name in answer["assets"]}
    return Html(html=answer["html"], assets=assets)


async def proofread(doc_id: str, design: Mapping[str, Any]) -> list[dict[str, str]]:
    """`design_problems`, within bounds of time and memory."""
    question = {"do": "proof", "id": doc_id, "design": design}
    try:
        answer = await _question(question, PROOF_TIMEOUT_S)
    except TimeoutError:
        text = f"printing the samples takes more than {PROOF_TIMEOUT_S:.0f} s"
        return [problem("too_slow", "", text, "look at loops in the template and at patterns")]
    except HelperLost:
        text = "printing the samples takes too much memory"
        return [problem("too_large", "", text, "look at loops and powers in the template")]
    found: list[dict[str, str]] = answer["problems"]
    return found


def serve_foreign() -> None:
    """What the helper process runs."""
    serve(_answer)


def _answer(question: bytes) -> bytes:
    """Whatever a template raises is an answer: a helper that dies has to be started again."""
    try:
        found = _obey(json.loads(question))
    except Rejected as error:
        found = {"problems": error.details["problems"]}
    except TemplateFailed as error:
        found = {"failed": str(error)}
    except Exception as error:  # noqa: BLE001 -- see above
        text = f"{type(error).__name__}: {error}"[:500]
        found = {"failed": text, "problems": [problem("template_error", "", text, "")]}
    return json.dumps(found).encode()


def _obey(question: Mapping[str, Any]) -> dict[str, Any]:
    if question["do"] == "proof":
        return {"problems": design_problems(question["id"], question["design"])}
    doc = type_of(question["id"], question["version"], question["design"], {})
    check_data(doc, question["data"])
    if question["do"] == "check":
        return {"problems": []}
    made = build_html(doc, question["data"], question["lang"])
    return {"html": made.html, "assets": list(made.assets)}


def _set(doc: DocumentType, data: Mapping[str, Any], lang: str) -> Html:
    check_data(doc, data)
    return build_html(doc, data, lang)


def _raise_problems(doc: DocumentType, answer: Mapping[str, Any]) -> None:
    problems = answer.get("problems", [])
    if problems:
        raise Rejected(
            f"the data does not fit {doc.id}: {len(problems)} problems",
            details={"doc_id": doc.id, "problems": problems},
        )


async def _ask(doc: DocumentType, question: Mapping[str, Any], timeout_s: float) -> Any:
    facts = {"id": doc.id, "version": doc.version, "design": _needed(doc)}
    return await _question({**facts, **question}, timeout_s)


def _needed(doc: DocumentType) -> dict[str, Any]:
    """Of the design, what setting takes; assets by name alone."""
    return {
        "titles": doc.titles,
        "schema": doc.schema,
        "words": doc.words,
        "sources": doc.sources,
        "assets": {
            name: {"media_type": asset.media_type, "sha256": ""}
            for name, asset in doc.assets.items()
        },
    }


async def _question(question: Mapping[str, Any], timeout_s: float) -> Any:
    try:
        askers = _askers.get()
    except LookupError:
        askers = anyio.Semaphore(ASKERS)
        _askers.set(askers)
    text = await to_thread.run_sync(lambda: json.dumps(question).encode())
    async with askers:
        answer = await _helper().ask(text, timeout_s=timeout_s)
    return await to_thread.run_sync(json.loads, answer)


@functools.cache
def _helper() -> Helper:
    return Helper("from makeready.documents.foreign import serve_foreign; serve_foreign()")
