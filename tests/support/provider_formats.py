"""What providers say on the wire, as their documentation has it: answers, waiting, refusals."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from tests.support.provider_server import ProviderServer

STATES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
STATES |= {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
STATES |= {504: "DEADLINE_EXCEEDED"}


@dataclass(slots=True, kw_only=True)
class Turn:
    """One request and what its answer is made of."""

    server: ProviderServer
    request: web.Request
    kind: str
    stage: str
    """submit, poll, result, cancel, ping, download."""
    content: bytes
    media_type: str
    spoiled: bool = False
    """Its base64 is none."""
    pending: int = 0
    """Polls that find it unfinished."""
    word: str = ""
    """Why there is no image: a finish reason, a block reason."""

    @property
    def encoded(self) -> str:
        text = base64.b64encode(self.content).decode()
        return f"{text[:40]}!*{text[40:]}" if self.spoiled else text

    @property
    def data_uri(self) -> str:
        return f"data:{self.media_type};base64,{self.encoded}"

    @property
    def last(self) -> str:
        return self.request.path.rstrip("/").rpartition("/")[2]


def reply(document: Any, status: int = 200, **headers: str) -> web.Response:
    return web.json_response(document, status=status, headers=headers)


def answer(turn: Turn) -> web.Response:
    """The success of a stage."""
    return _ANSWERS[turn.kind](turn)


def _gemini(turn: Turn) -> web.Response:
    if turn.stage == "ping":
        return reply({"name": f"models/{turn.last}"})
    data = {"inlineData": {"mimeType": turn.media_type, "data": turn.encoded}}
    parts = [{"text": "a thought", "thought": True}, {"text": "Here it is."}, data]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return reply({"candidates": [candidate], "usageMetadata": {"totalTokenCount": 1290}})


def _turbotext(turn: Turn) -> web.Response:
    if turn.stage == "submit":
        return reply({"success": True, "queueid": int(turn.server.job(turn))})
    if turn.stage == "ping" or not turn.server.is_done(turn.server.asked[-1].form["queueid"]):
        return reply({"action": "reconnect"})
    link = turn.server.link(turn)
    data = {"user_id": 1, "image": ["image/one.png"], "width": 768, "height": 768}
    if turn.server.nested:
        return reply({"success": True, "error": "", "data": data | {"uploaded_image": link}})
    return reply({"success": True, "error": "", "data": data, "uploaded_image": link})


def _openai(turn: Turn) -> web.Response:
    if turn.stage == "ping":
        return reply({"id": turn.last, "object": "model"})
    return reply({"created": 1, "data": [{"b64_json": turn.encoded}], "usage": {}})


def _replicate(turn: Turn) -> web.Response:
    if turn.stage == "ping":
        return reply({"type": "organization", "username": "booth"})
    if turn.stage == "submit":
        job, status = turn.server.job(turn), 201
    else:
        job, status = turn.request.path.rstrip("/").split("/")[4], 200
    found: dict[str, Any] = {"id": job, "error": None, "logs": "", "output": None, "urls": {}}
    if turn.stage == "cancel":
        return reply(found | {"status": "canceled"})
    if not turn.server.is_done(job):
        return reply(found | {"status": "processing"}, status)
    output = [turn.server.link(turn)]
    return reply(found | {"status": "succeeded", "output": output}, status)


def _fal(turn: Turn) -> web.Response:
    if turn.stage == "ping":
        return reply({"detail": "Request not found"}, 404)
    own = turn.server.url
    if turn.stage == "submit":
        job = turn.server.job(turn)
        model = turn.request.path.removeprefix("/fal/").split("/")
        at = f"{own}/fal/{'/'.join(model[:2])}/requests/{job}"
        found = {"request_id": job, "response_url": at, "queue_position": 0}
        return reply(found | {"status_url": f"{at}/status", "cancel_url": f"{at}/cancel"})
    job = turn.request.path.partition("/requests/")[2].partition("/")[0]
    if turn.stage == "cancel":
        return reply({"status": "CANCELLATION_REQUESTED"}, 202)
    if turn.stage == "poll":
        if turn.server.is_done(job):
            return reply({"status": "COMPLETED", "request_id": job})
        return reply({"status": "IN_QUEUE", "queue_position": 1, "request_id": job}, 202)
    image = {"url": turn.server.link(turn), "content_type": turn.media_type}
    return reply({"images": [image], "seed": 1})


def _webhook(turn: Turn) -> web.Response:
    server = turn.server
    if turn.stage in ("ping", "cancel"):
        return reply({})
    if turn.stage == "submit" and server.polled:
        return reply({"job": {"id": server.job(turn)}})
    if turn.stage == "poll" and not server.is_done(turn.last):
        return reply({"job": {"state": "running"}})
    if turn.stage != "result" and server.speaks != "image":
        image = turn.encoded if server.speaks == "base64" else server.link(turn)
        return reply({"job": {"state": "ready"}, "images": [{"it": image}]})
    if turn.stage == "poll":
        return reply({"job": {"state": "ready"}})
    return web.Response(body=turn.content, content_type=turn.media_type)


def _file(turn: Turn) -> web.Response:
    return web.Response(body=turn.content, content_type=turn.media_type)


_ANSWERS = {
    "gemini": _gemini,
    "turbotext": _turbotext,
    "openai": _openai,
    "replicate": _replicate,
    "fal": _fal,
    "hook": _webhook,
    "files": _file,
}


def without_image(turn: Turn) -> web.Response:
    """A success of HTTP in which there is no image; `word` says why."""
    candidate = {"finishReason": turn.word or "NO_IMAGE", "index": 0}
    documents: dict[str, Any] = {
        "gemini": {"candidates": [candidate], "usageMetadata": {}},
        "turbotext": {"success": True, "error": "", "data": {"forbidden_content": True}},
        "openai": {"created": 1, "data": []},
        "replicate": {"id": "1", "status": "succeeded", "output": None, "error": None},
        "fal": {"images": [], "seed": 1},
        "hook": {"images": []},
    }
    return reply(documents[turn.kind])


def blocked(turn: Turn) -> web.Response:
    """The request is refused for what it asks or shows."""
    word = turn.word or "PROHIBITED_CONTENT"
    if turn.kind == "gemini":
        return reply({"promptFeedback": {"blockReason": word}, "usageMetadata": {}})
    if turn.kind == "turbotext":
        return reply({"success": False, "error": turn.word or "face_not_detected"})
    if turn.kind == "openai":
        error: dict[str, Any] = {"message": "Rejected by the safety system.", "param": None}
        error |= {"type": "image_generation_user_error", "code": "moderation_blocked"}
        return reply({"error": error}, 400)
    if turn.kind == "replicate":
        said = "The input was flagged as sensitive. (E005)"
        return reply({"id": "1", "status": "failed", "error": said, "output": None}, 201)
    found = {"loc": ["body"], "msg": "Flagged.", "type": "content_policy_violation"}
    return reply({"detail": [found]}, 422)


def refusal(turn: Turn, status: int, said: str, retry_s: float | None, word: str) -> web.Response:
    """An error as the kind writes it."""
    headers = {} if retry_s is None or turn.kind == "gemini" else {"Retry-After": f"{retry_s:g}"}
    if turn.kind == "gemini":
        details: list[dict[str, Any]] = []
        if status == 429:
            found = {"quotaMetric": "requests", "quotaId": word or "RequestsPerMinute"}
            details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure"})
            details[-1]["violations"] = [found]
        elif word:
            details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word})
        if retry_s is not None:
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo"})
            details[-1]["retryDelay"] = f"{retry_s:g}s"
        error: dict[str, Any] = {"code": status, "message": said, "details": details}
        return reply({"error": error | {"status": STATES.get(status, "UNKNOWN")}}, status)
    if turn.kind == "turbotext" and status < 500:
        return reply({"success": False, "error": word or "LIMIT"}, 200)
    if turn.kind == "openai":
        error = {"message": said, "type": "server_error", "param": None}
        error["code"] = word or None
        return reply({"error": error}, status, **headers)
    if turn.kind in ("replicate", "fal"):
        plain = {"detail": said, "title": "Error", "status": status, "error_type": word}
        return reply(plain, status, **headers)
    return web.Response(
        body=json.dumps({"error": said}),
        status=status,
        content_type="application/json",
        headers=headers,
    )
