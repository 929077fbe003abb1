"""One page in a browser context of its own: HTML in, PDF out.

The HTML is put into `about:blank`, whose opaque origin can read no file. Everything that the
document asks for is answered here, from the map of assets or with a refusal; nothing ever waits
for a network. Navigations are refused too, so what is printed is the document that was given.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from makeready.documents import Asset
from makeready.print_options import PAPERS_MM, PrintOptions
from makeready_workers.chromium.pipe import CallRefused, Pipe, SessionGone
from makeready_workers.chromium.records import EngineLimits, Fault, RenderError
from makeready_workers.chromium.requests import Requests

MM_PER_INCH = 25.4
WAIT_FOR_STEP_S = 0.025
LOOK_S = 0.25  # for the load event, before the document itself is asked
CALM_LOOKS = 2
_READ_BYTES = 1024 * 1024

_SEARCHED_LENGTH = 256 * 1024
_LATE = re.compile(
    r"<(?:img|link|input|picture|svg:image|image)|@font-face|@import", re.IGNORECASE
)

# Run after the load event, which no font holds up. Faces are asked to load, not waited for: by
# themselves they load when something is laid out in them, on a page without frames as late as the
# printing, and `document.fonts.ready` is kept before. A face on its way prints no letters at all.
_SETTLED = """(async () => {
  const broken = [], documents = [document];
  for (const one of documents)
    for (const frame of one.querySelectorAll('iframe, frame, object, embed'))
      if (frame.contentDocument) documents.push(frame.contentDocument);
  for (const one of documents) {
    const faces = [...one.fonts];
    await Promise.allSettled(faces.map(face => face.load()));
    for (const face of faces)
      if (face.status !== 'loaded') broken.push('font ' + face.family.slice(0, 200));
    for (const image of one.images)
      if (image.getAttribute('src') && image.complete && !image.naturalWidth)
        broken.push(image.src.slice(0, 200));
  }
  return broken;
})()"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A PDF as Chromium wrote it."""

    pdf: bytes
    warnings: tuple[str, ...]
    timings: Mapping[str, float]


class Page:
    """A page that prints documents one after the other; never two at once."""

    def __init__(
        self, pipe: Pipe, context: str, target: str, session: str, *, scripts: bool
    ) -> None:
        self.context = context
        self.documents = 0
        self.used_at = time.monotonic()
        self.reusable = not scripts
        """A script could outlive its document and rewrite the next one."""
        self._scripts = scripts
        self._pipe = pipe
        self._target = target
        self._session = session
        self._requests = Requests({})
        self._loaded = asyncio.Event()
        self._gone: str | None = None
        pipe.listen(session, self._on_event)

    @classmethod
    async def open(cls, pipe: Pipe, *, scripts: bool, still: bool) -> Page:
        """A fresh context with one empty page; raises PipeError.

        A `still` page draws no frames, which nobody would see: printing lays the document out by
        itself. It saves a third of the time before printing, but a script would wait for frames.
        """
        made = await pipe.call("Target.createBrowserContext")
        context = made["browserContextId"]
        try:
            return await cls._open_in(pipe, context, scripts=scripts, still=still)
        except BaseException:  # cancelled as well: nobody else knows of this context
            pipe.notify("Target.disposeBrowserContext", {"browserContextId": context})
            raise

    @classmethod
    async def _open_in(cls, pipe: Pipe, context: str, *, scripts: bool, still: bool) -> Page:
        facts: dict[str, Any] = {"url": "about:blank", "browserContextId": context}
        if still and not scripts:
            facts["enableBeginFrameControl"] = True
        target = (await pipe.call("Target.createTarget", facts))["targetId"]
        made = await pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = cls(pipe, context, target, made["sessionId"], scripts=scripts)
        await asyncio.gather(
            page._call("Page.enable"),
            page._call("Inspector.enable"),
            page._call("Fetch.enable", {"patterns": [{"urlPattern": "*"}]}),
            page._call("Emulation.setScriptExecutionDisabled", {"value": not scripts}),
            page._call("Emulation.setEmulatedMedia", {"media": "print"}),
        )
        return page

    async def dispose(self) -> None:
        """Closes the context and kills its renderer, also one that hangs; raises PipeError."""
        self._pipe.drop_session(self._session, "the page was closed")
        await self._pipe.call("Target.disposeBrowserContext", {"browserContextId": self.context})

    async def print(
        self,
        html: str,
        assets: Mapping[str, Asset],
        options: PrintOptions,
        limits: EngineLimits,
    ) -> Printed:
        """Prints one document; the caller holds the deadline. Raises RenderError or PipeError."""
        began = time.perf_counter()
        self._requests = Requests(assets)
        self.documents += 1
        await self._load(html, ask=options.scripts or _may_load_late(html))
        if options.scripts and options.wait_for:
            await self._wait_for(options.wait_for)
            await self._settle()  # the script may have brought more of them
        self._check(options)
        loaded = time.perf_counter()
        size = len(html) + sum(len(asset.content) for asset in assets.values())
        self._requests.is_printing = True
        pdf = await self._print(options, limits, stream=size > limits.stream_above_bytes)
        printed = time.perf_counter()
        self._check(options)
        self.used_at = time.monotonic()
        return Printed(
            pdf=pdf,
            warnings=self._requests.warnings(),
            timings={"load": (loaded - began) * 1e3, "print": (printed - loaded) * 1e3},
        )

    async def _load(self, html: str, *, ask: bool) -> None:
        self._loaded.clear()
        await self._call("Page.setDocumentContent", {"frameId": self._target, "html": html})
        await self._until_loaded()
        self._alive()
        if ask:
            await self._settle()

    async def _until_loaded(self) -> None:
        """Waits for the load event, with scripts also for a document complete for a while without.

        A script that sends a form ends the loading: the refused navigation takes the event along.
        `document.readyState` alone is no substitute: it is `complete` while style sheets load.
        """
        if not self._scripts:
            await self._loaded.wait()
            return
        calm = 0
        while calm < CALM_LOOKS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._loaded.wait(), LOOK_S)
                return
            is_complete = await self._evaluate("document.readyState === 'complete'")
            calm = calm + 1 if is_complete else 0

    async def _settle(self) -> None:
        """Waits for the fonts; notes those, and the pictures, that can't be shown."""
        for address in await self._evaluate(_SETTLED):
            self._requests.note(self._requests.missing, address)

    async def _evaluate(self, expression: str) -> Any:
        answer = await self._call(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True},
        )
        if "exceptionDetails" in answer:
            text = answer["exceptionDetails"].get("exception", {}).get("description", "unknown")
            raise RenderError(Fault.TEMPLATE_ERROR, f"a script of the document failed: {text}")
        return answer["result"].get("value")

    async def _wait_for(self, expression: str) -> None:
        while not await self._evaluate(f"Boolean({expression})"):  # noqa: ASYNC110 (in the page)
            await asyncio.sleep(WAIT_FOR_STEP_S)

    def _check(self, options: PrintOptions) -> None:
        missing = self._requests.missing
        if missing and options.strict_assets:
            raise RenderError(
                Fault.ASSET_MISSING,
                f"the document lacks {', '.join(missing)}",
                evidence={"missing": list(missing)},
            )

    async def _print(self, options: PrintOptions, limits: EngineLimits, *, stream: bool) -> bytes:
        params = {
            **_print_params(options),
            "transferMode": "ReturnAsStream" if stream else "ReturnAsBase64",
        }
        try:
            answer = await self._call("Page.printToPDF", params)
        except CallRefused as refused:
            raise _print_fault(refused) from refused
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

    async def _call(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._alive()
        return await self._pipe.call(method, params, session=self._session)

    def _alive(self) -> None:
        if self._gone is not None:
            raise SessionGone(self._gone)

    def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._pipe.notify(method, params, session=self._session)

    # Events, in the turn of the event loop in which they arrive.

    def _on_event(self, name: str, params: Mapping[str, Any]) -> None:
        match name:
            case "Fetch.requestPaused":
                self._notify(*self._requests.answer(params))
            case "Page.loadEventFired":
                self._loaded.set()
            case "Page.javascriptDialogOpening":
                self._notify("Page.handleJavaScriptDialog", {"accept": False})
            case "Inspector.targetCrashed" | "Inspector.detached":
                self._lost(str(params.get("reason", "the renderer crashed")))
            case "Makeready.browserGone":
                self._lost(params["reason"])

    def _lost(self, reason: str) -> None:
        self.reusable = False
        self._gone = reason
        self._loaded.set()  # nobody waits for the load event of a dead page
        self._pipe.drop_session(self._session, reason)


def _may_load_late(html: str) -> bool:
    """Whether fonts or pictures may need asking after; a long document is not searched."""
    return len(html) > _SEARCHED_LENGTH or _LATE.search(html) is not None


def _print_fault(refused: CallRefused) -> RenderError:
    """Chromium names bad options by the code for bad parameters or by naming the page ranges."""
    if refused.code == -32602 or "range" in refused.text.lower():
        return RenderError(Fault.INVALID_PRINT_OPTIONS, refused.text)
    return RenderError(Fault.RENDER_CRASHED, f"Chromium could not print: {refused.text}")


def _print_params(options: PrintOptions) -> dict[str, Any]:
    width, height = (side / MM_PER_INCH for side in PAPERS_MM[options.paper])
    margin = options.margin_mm / MM_PER_INCH
    return {
        "landscape": options.landscape,
        "printBackground": options.backgrounds,
        "scale": options.scale,
        "paperWidth": width,
        "paperHeight": height,
        "marginTop": margin,
        "marginBottom": margin,
        "marginLeft": margin,
        "marginRight": margin,
        "pageRanges": options.page_ranges,
        "preferCSSPageSize": options.css_page_size,
        "generateTaggedPDF": options.accessible or options.outline,
        "generateDocumentOutline": options.outline,
    }
