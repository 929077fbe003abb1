"""One page in a browser context of its own: HTML in, PDF out.

The HTML is put into `about:blank`, whose opaque origin can read no file. Everything that the
document asks for is answered here, from the map of assets or with a refusal; nothing ever waits
for a network. The document itself may go nowhere: what is printed is the one that was given.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from makeready.documents.typesetting import Asset
from makeready.print_options import PrintOptions
from makeready_workers.chromium.evidence import (
    BINDING,
    PAGE_SIZE,
    TELL,
    Evidence,
    describe_exception,
    screenshot_call,
)
from makeready_workers.chromium.link import CallRefused, Link, LinkError, SessionGone
from makeready_workers.chromium.loading import FRAMES_AT_MOST, SETTLED, Loading
from makeready_workers.chromium.printing import print_fault, print_params
from makeready_workers.chromium.records import SCREENSHOT_BYTES, EngineLimits, Fault, RenderError
from makeready_workers.chromium.requests import Requests

WAIT_FOR_STEP_S = 0.025
LOOK_S = 0.25  # for the load event, before the document itself is asked
CALM_LOOKS = 2
STAYING = "window.close = () => {}"  # run before the document: many a page closes itself, printed
FRAMES_DRAWN = 3  # the first ones of a page that never drew may show nothing
_READ_BYTES = 1024 * 1024

_SEARCHED_LENGTH = 256 * 1024
_LATE = re.compile(
    r"<(?:img|link|input|picture|svg:image|image)|@font-face|@import", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A PDF as Chromium wrote it."""

    pdf: bytes
    warnings: tuple[str, ...]
    timings: Mapping[str, float]


class Page:
    """A page that prints documents one after the other; never two at once."""

    def __init__(
        self, link: Link, context: str, target: str, session: str, *, scripts: bool, still: bool
    ) -> None:
        self.context = context
        self.documents = 0
        self.used_at = time.monotonic()
        self.was_closed = False
        """Whether the page was closed under its document: by a script, or with the browser."""
        self.has_scripts = scripts
        self.reusable = not scripts
        """A script could outlive its document and rewrite the next one."""
        self._still = still
        self._link = link
        self._target = target
        self._session = session
        self._requests = Requests({})
        self._evidence = Evidence()
        self._loading = Loading()
        self._gone: str | None = None
        link.listen(session, self._on_event)

    @classmethod
    async def open(cls, link: Link, *, scripts: bool, still: bool) -> Page:
        """A fresh context with one empty page; raises LinkError.

        A `still` page draws no frames, which nobody would see: printing lays the document out by
        itself. It saves a third of the time before printing, but a script would wait for frames.
        """
        made = await link.call("Target.createBrowserContext")
        context = made["browserContextId"]
        try:
            return await cls._open_in(link, context, scripts=scripts, still=still and not scripts)
        except BaseException:  # cancelled as well: nobody else knows of this context
            link.notify("Target.disposeBrowserContext", {"browserContextId": context})
            raise

    @classmethod
    async def _open_in(cls, link: Link, context: str, *, scripts: bool, still: bool) -> Page:
        facts: dict[str, Any] = {"url": "about:blank", "browserContextId": context}
        if still:
            facts["enableBeginFrameControl"] = True
        target = (await link.call("Target.createTarget", facts))["targetId"]
        made = await link.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = cls(link, context, target, made["sessionId"], scripts=scripts, still=still)
        await asyncio.gather(
            page._call("Page.enable"),
            page._call("Inspector.enable"),
            page._call("Fetch.enable", {"patterns": [{"urlPattern": "*"}]}),
            page._call("Emulation.setScriptExecutionDisabled", {"value": not scripts}),
            page._call("Emulation.setEmulatedMedia", {"media": "print"}),
        )
        if scripts:
            await asyncio.gather(
                page._call("Network.enable"), page._tell(), page._evaluate(STAYING)
            )
        return page

    async def dispose(self) -> None:
        """Closes the context and kills its renderer, also one that hangs; raises LinkError."""
        self._link.drop_session(self._session, "the page was closed")
        await self._link.call("Target.disposeBrowserContext", {"browserContextId": self.context})

    async def print(
        self,
        html: str,
        assets: Mapping[str, Asset],
        options: PrintOptions,
        limits: EngineLimits,
    ) -> Printed:
        """Prints one document; the caller holds the deadline. Raises RenderError or LinkError."""
        self._requests, self._evidence = Requests(assets, self._target), Evidence()
        self._loading.is_gone, self._loading.frames_ever = False, 0
        self.documents += 1
        async with self._within("load", options.load_timeout_s):
            await self._load(html, ask=options.scripts or _may_load_late(html))
        if options.scripts and options.wait_for:
            async with self._within("wait", None):
                await self._wait_for(options.wait_for)
                await self._settle()  # the script may have brought more of them
        self._check(options)
        size = len(html) + sum(len(asset.content) for asset in assets.values())
        self._requests.is_printing = True
        async with self._within("print", options.print_timeout_s):
            stream = self._link.streams_always or size > limits.stream_above_bytes
            pdf = await self._print(options, limits, stream=stream)
        self._check(options)
        self.used_at = time.monotonic()
        timings = dict(self._evidence.timings)
        return Printed(pdf=pdf, warnings=self._requests.warnings(), timings=timings)

    async def testify(self, failure: RenderError, limits: EngineLimits) -> None:
        """Adds to `failure` what was seen of the document, and its picture if it can be had."""
        failure.evidence |= {**self._evidence.facts(), **self._requests.facts()}
        if self._gone is None:
            with contextlib.suppress(LinkError, TimeoutError):
                async with asyncio.timeout(limits.screenshot_timeout_s):
                    failure.screenshot = await self._screenshot()

    @asynccontextmanager
    async def _within(self, phase: str, limit_s: float | None) -> AsyncGenerator[None, None]:
        """One phase of the document: its name, its time, its own deadline."""
        self._evidence.phase = phase
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError as error:
            text = f"the document did not {phase} within {limit_s:g} seconds"
            raise RenderError(Fault.RENDER_TIMEOUT, text) from error
        except SessionGone as error:
            if self._loading.is_crowded:
                raise RenderError(Fault.TEMPLATE_ERROR, str(error)) from error
            raise
        finally:
            self._evidence.timings[phase] = (time.perf_counter() - began) * 1e3

    async def _load(self, html: str, *, ask: bool) -> None:
        self._loading.loaded.clear()
        await self._call("Page.setDocumentContent", {"frameId": self._target, "html": html})
        await self._until_loaded()
        self._alive()
        if ask:
            await self._settle()

    async def _until_loaded(self) -> None:
        """Waits for the load event, with scripts also for a document complete for a while without.

        On a page without frames, a plug-in holds the event up until something is laid out. A
        script that sends a form ends the loading: the refused navigation takes the event along.
        `document.readyState` alone is no substitute: it is `complete` while style sheets load, so
        the answers to all requests have to have arrived.
        """
        calm = 0
        while calm < CALM_LOOKS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._loading.loaded.wait()
                return
            if not self.has_scripts:
                await self._evaluate("document.documentElement?.offsetHeight")
                continue
            is_complete = await self._evaluate("document.readyState === 'complete'")
            calm = calm + 1 if is_complete and not self._loading.awaited else 0

    async def _settle(self) -> None:
        """Waits for the fonts; notes those, and the pictures, that can't be shown."""
        found = await asyncio.gather(
            self._evaluate(SETTLED), *(self._settle_frame(frame) for frame in self._loading.frames)
        )
        for address in (address for broken in found for address in broken):
            self._requests.note(self._requests.missing, address)

    async def _settle_frame(self, frame: str) -> list[str]:
        """The same in one frame; in a world of its own, which a sandboxed one has as well."""
        try:
            made = await self._call("Page.createIsolatedWorld", {"frameId": frame})
            broken: list[str] = await self._evaluate(SETTLED, made["executionContextId"])
        except CallRefused:  # a script has removed it
            return []
        return broken

    async def _evaluate(self, expression: str, context: int | None = None) -> Any:
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        where = {} if context is None else {"contextId": context}
        answer = await self._call("Runtime.evaluate", asked | where)
        if "exceptionDetails" in answer:
            text = describe_exception(answer["exceptionDetails"])
            raise RenderError(Fault.TEMPLATE_ERROR, f"a script of the document failed: {text}")
        return answer["result"].get("value")

    async def _wait_for(self, expression: str) -> None:
        while not await self._evaluate(f"Boolean({expression})"):  # noqa: ASYNC110 (in the page)
            await asyncio.sleep(WAIT_FOR_STEP_S)

    def _check(self, options: PrintOptions) -> None:
        if self._loading.is_gone:
            self.reusable = False
            raise RenderError(Fault.TEMPLATE_ERROR, "the document navigated away from itself")
        missing = self._requests.missing
        if missing and options.strict_assets:
            raise RenderError(Fault.ASSET_MISSING, f"the document lacks {', '.join(missing)}")

    async def _print(self, options: PrintOptions, limits: EngineLimits, *, stream: bool) -> bytes:
        try:
            answer = await self._call("Page.printToPDF", print_params(options, stream=stream))
        except CallRefused as refused:
            raise print_fault(refused) from refused
        if stream:
            return await self._read(answer["stream"], limits.pdf_bytes)
        return binascii.a2b_base64(answer["data"])

    async def _read(self, handle: str, limit: int) -> bytes:
        pdf = bytearray()
        while True:
            piece = await self._call("IO.read", {"handle": handle, "size": _READ_BYTES})
            pdf += (
                binascii.a2b_base64(piece["data"])
                if piece.get("base64Encoded")
                else piece["data"].encode("latin-1")
            )
            if len(pdf) > limit:
                raise RenderError(Fault.RENDER_OUT_OF_MEMORY, f"the PDF is above {limit} bytes")
            if piece.get("eof"):
                break
        await self._call("IO.close", {"handle": handle})
        return bytes(pdf)

    async def _tell(self) -> None:
        """Lets the page tell of its console and errors; frames in it are not given the means."""
        await self._call("Runtime.enable")  # which names the world of the page, and much else
        await self._call("Runtime.disable")
        world = self._loading.world
        await self._call("Runtime.addBinding", {"name": BINDING, "executionContextId": world})
        await self._evaluate(TELL, world)

    async def _screenshot(self) -> bytes | None:
        method, params = screenshot_call(still=self._still)
        if self._still:
            await self._call("Emulation.setDeviceMetricsOverride", PAGE_SIZE)
        for _ in range(FRAMES_DRAWN):
            shown = await self._call(method, params)
            data = shown.get("data") or shown.get("screenshotData")
            if data:
                picture = binascii.a2b_base64(data)
                return picture if len(picture) <= SCREENSHOT_BYTES else None
        return None

    async def _call(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._alive()
        return await self._link.call(method, params, session=self._session)

    def _alive(self) -> None:
        if self._gone is not None:
            raise SessionGone(self._gone)

    def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._link.notify(method, params, session=self._session)

    # Events, in the turn of the event loop in which they arrive.

    def _on_event(self, name: str, params: Mapping[str, Any]) -> None:
        match name:
            case "Fetch.requestPaused":
                self._notify(*self._requests.answer(params))
            case "Runtime.bindingCalled":
                self._evidence.hear(params["payload"])
            case "Page.javascriptDialogOpening":
                self._notify("Page.handleJavaScriptDialog", {"accept": False})
            case "Inspector.targetCrashed" | "Inspector.detached":
                self._lost(str(params.get("reason", "the renderer crashed")))
            case "Makeready.pageClosed":
                self.was_closed = True
                self._lost(params["reason"])
            case "Makeready.browserGone":
                self._lost(params["reason"])
            case _:
                self._loading.hear(name, params)
                if self._loading.is_crowded:
                    self._lost(f"the document has more than {FRAMES_AT_MOST} frames")

    def _lost(self, reason: str) -> None:
        self.reusable = False
        self._gone = reason
        self._loading.loaded.set()  # nobody waits for the load event of a dead page
        self._link.drop_session(self._session, reason)


def _may_load_late(html: str) -> bool:
    """Whether fonts or pictures may need asking after; a long document is not searched."""
    return len(html) > _SEARCHED_LENGTH or _LATE.search(html) is not None
