"""Somebody else's servers: one that speaks the formats of all kinds of providers over real HTTP.

A test says how it behaves, call by call; what is not said goes well:

    async with provider_server() as server:
        server.will(refuse(503), refuse(429, retry_s=2), ok())
        server.will(expired(), stage="download")
        options = server.options("gemini")
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from PIL import Image as Pillow
from werkzeug.formparser import parse_form_data

from tests.support import provider_formats as formats
from tests.support.provider_formats import Turn

Behaviour = Callable[[Turn], Awaitable[web.StreamResponse]]
KEY = "key-of-a-provider-0123456789"


@cache
def picture(media_type: str = "image/jpeg", colour: str = "#3060a0") -> bytes:
    """A small image."""
    file = io.BytesIO()
    Pillow.new("RGB", (48, 32), colour).save(file, media_type.removeprefix("image/"))
    return file.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that came."""

    kind: str
    stage: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def _form(self) -> Any:
        facts = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(self.body)}
        facts |= {"CONTENT_TYPE": self.headers["content-type"]}
        facts |= {"CONTENT_LENGTH": str(len(self.body))}
        return parse_form_data(facts, stream_factory=lambda *_, **__: io.BytesIO())

    @property
    def form(self) -> dict[str, str]:
        """The text fields of a form."""
        return dict(self._form()[1].items())

    @property
    def files(self) -> list[tuple[str, str, bytes]]:
        """The files of a form: name, media type, content."""
        found = self._form()[2].items(multi=True)
        return [(name, each.mimetype, each.read()) for name, each in found]


@dataclass(slots=True, kw_only=True)
class ProviderServer:
    """All providers at one address; made by `provider_server`."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    fetched: list[tuple[int, bytes]] = field(default_factory=list)
    """What was behind the links that were given instead of photos: status and content."""
    content: bytes = field(default_factory=picture)
    """The image that all of them answer with."""
    media_type: str = "image/jpeg"
    pending: int = 1
    """Polls that find a job unfinished."""
    fetches_at: str = ""
    """Where links to photos are looked up, whatever host they name; nothing: they are not."""
    nested: bool = False
    """Turbotext puts its link inside data."""
    speaks: str = "image"
    """What the webhook answers: image, base64, url."""
    polled: bool = False
    """The webhook answers first with the name of a job."""
    _scripts: dict[str, deque[Behaviour]] = field(default_factory=lambda: defaultdict(deque))
    _left: dict[str, int] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1001))

    def will(self, *behaviours: Behaviour, stage: str = "submit") -> None:
        """The next calls of a stage go like this, one behaviour each; those after them well."""
        self._scripts[stage].extend(behaviours)

    def forget(self) -> None:
        """What was to come does not."""
        self._scripts.clear()

    def stages(self) -> list[str]:
        """What was asked, in order."""
        return [each.stage for each in self.asked]

    def last(self, stage: str = "submit") -> Asked:
        return next(each for each in reversed(self.asked) if each.stage == stage)

    def options(self, kind: str, **more: Any) -> dict[str, Any]:
        """The options of a provider of this kind that lives here."""
        paths = {"turbotext": "/api_ai", "openai": "/v1", "replicate": "/v1"}
        base = {"base_url": f"{self.url}/{kind}{paths.get(kind, '')}"} if kind != "webhook" else {}
        polls = {"poll_interval_s": 0.02, "download_hosts": ["127.0.0.1"]}
        return {"allows_private": True} | base | ({} if kind in _PLAIN else polls) | more

    def job(self, turn: Turn) -> str:
        """A new job that is done after a few polls."""
        job = str(next(self._numbers))
        self._left[job] = turn.pending
        return job

    def is_done(self, job: str) -> bool:
        """Whether it is; every question brings it nearer."""
        self._left[job] = self._left.get(job, 0) - 1
        return self._left[job] < 0

    def link(self, turn: Turn) -> str:
        return f"{self.url}/files/{turn.kind}.jpg?signature=of-a-link"

    async def _fetch(self, asked: Asked) -> None:
        link = urlsplit(asked.form["url"])
        url = f"{self.fetches_at}{link.path}?{link.query}"
        async with aiohttp.ClientSession() as session, session.get(url) as found:
            self.fetched.append((found.status, await found.read()))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.split("/")[1]
        stage = _stage(kind, request)
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(
            kind=kind,
            stage=stage,
            method=request.method,
            path=request.path_qs,
            headers=headers,
            body=body,
        )
        if kind == "turbotext" and asked.form.get("do") == "get_result":
            stage = "ping" if asked.form["queueid"] == "0" else "poll"
            asked = Asked(**{name: getattr(asked, name) for name in _FIELDS} | {"stage": stage})
        self.asked.append(asked)
        if self.fetches_at and stage == "submit":
            await self._fetch(asked)
        turn = Turn(
            server=self,
            request=request,
            kind=kind,
            stage=stage,
            content=self.content,
            media_type=self.media_type,
            pending=self.pending,
        )
        script = self._scripts[stage]
        return await (script.popleft() if script else ok())(turn)


_PLAIN = ("gemini", "openai", "local")
_FIELDS = ("kind", "stage", "method", "path", "headers", "body")


def _stage(kind: str, request: web.Request) -> str:
    path, method = request.path, request.method
    if kind == "files":
        return "download"
    if path.endswith("/cancel"):
        return "cancel"
    if path.endswith("/ping") or (kind in ("gemini", "openai") and method == "GET"):
        return "ping"
    if path.endswith("/account") or "00000000-0000" in path:
        return "ping"
    if kind == "fal" and method == "GET":
        return "poll" if path.endswith("/status") else "result"
    if path.endswith("/result"):
        return "result"
    return "poll" if method == "GET" else "submit"


def ok(
    content: bytes | None = None,
    media_type: str | None = None,
    *,
    spoiled: bool = False,
    pending: int | None = None,
) -> Behaviour:
    """A success, with the server's image or another one."""

    async def behave(turn: Turn) -> web.StreamResponse:
        turn.content = turn.content if content is None else content
        turn.media_type = media_type or turn.media_type
        turn.spoiled = spoiled
        turn.pending = turn.pending if pending is None else pending
        return formats.answer(turn)

    return behave


def late(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """As `then`, or well, but only after so long."""

    async def behave(turn: Turn) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await (then or ok())(turn)

    return behave


def held(gate: asyncio.Event, then: Behaviour | None = None) -> Behaviour:
    """As `then`, or well, but only when the gate opens."""

    async def behave(turn: Turn) -> web.StreamResponse:
        await gate.wait()
        return await (then or ok())(turn)

    return behave


def refuse(
    status: int, said: str = "No.", *, retry_s: float | None = None, word: str = ""
) -> Behaviour:
    """An error as the kind writes it; `word` is its own code."""

    async def behave(turn: Turn) -> web.StreamResponse:
        return formats.refusal(turn, status, said, retry_s, word)

    return behave


def say(document: Any, status: int = 200, **headers: str) -> Behaviour:
    """This JSON."""

    async def behave(_: Turn) -> web.StreamResponse:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return formats.reply(document, status, **named)

    return behave


def no_image(word: str = "") -> Behaviour:
    """200 without an image."""

    async def behave(turn: Turn) -> web.StreamResponse:
        turn.word = word
        return formats.without_image(turn)

    return behave


def block(word: str = "") -> Behaviour:
    """The content is refused."""

    async def behave(turn: Turn) -> web.StreamResponse:
        turn.word = word
        return formats.blocked(turn)

    return behave


def wrong_type() -> Behaviour:
    """A page instead of an image."""
    return ok(b"<html>Sign in</html>", "text/html")


def bad_base64() -> Behaviour:
    return ok(spoiled=True)


def expired() -> Behaviour:
    """A link that is no more."""

    async def behave(_: Turn) -> web.StreamResponse:
        return web.Response(status=403, text="<Code>AccessDenied</Code> Request has expired")

    return behave


def redirect(to: str, status: int = 302) -> Behaviour:
    async def behave(_: Turn) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": to})

    return behave


def truncated() -> Behaviour:
    """Half of the answer, as if that were all."""

    async def behave(turn: Turn) -> web.StreamResponse:
        whole = formats.answer(turn)
        assert isinstance(whole.body, bytes)
        half = whole.body[: len(whole.body) // 2]
        return web.Response(body=half, content_type=whole.content_type)

    return behave


def cut_off() -> Behaviour:
    """Half of the answer, then the connection breaks."""
    return _in_pieces(parts=2, pause_s=0, told=1)


def drip(pause_s: float = 0.05) -> Behaviour:
    """The answer byte by byte, for longer than anybody waits."""
    return _in_pieces(parts=10_000, pause_s=pause_s, told=10_000)


def _in_pieces(*, parts: int, pause_s: float, told: int) -> Behaviour:
    async def behave(turn: Turn) -> web.StreamResponse:
        whole = formats.answer(turn)
        assert isinstance(whole.body, bytes)
        response = web.StreamResponse(headers={"Content-Type": whole.content_type})
        response.content_length = len(whole.body)
        await response.prepare(turn.request)
        step = max(1, len(whole.body) // parts)
        with contextlib.suppress(ConnectionError):
            for start in range(0, told * step, step):
                await response.write(whole.body[start : start + step])
                await asyncio.sleep(pause_s)
        _break(turn.request)
        return response

    return behave


def reset() -> Behaviour:
    """The connection breaks without a word."""

    async def behave(turn: Turn) -> web.StreamResponse:
        _break(turn.request)
        return web.Response()

    return behave


def endless() -> Behaviour:
    """A body without end."""

    async def behave(turn: Turn) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": turn.media_type})
        await response.prepare(turn.request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * (1 << 18))
        return response

    return behave


def _break(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def provider_server() -> AsyncIterator[ProviderServer]:
    """A server on a free port of this machine."""
    server = ProviderServer()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", server.serve)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
