"""What the engine takes and gives: records, errors, and the protocol that every engine keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from makeready.documents.typesetting import Asset
from makeready.print_options import PrintOptions

MIB = 1024 * 1024
SCREENSHOT_BYTES = 512 * 1024


class Fault(StrEnum):
    """Why a document was not printed: stored with the job, and in lower case in answers."""

    TEMPLATE_ERROR = "TEMPLATE_ERROR"
    ASSET_MISSING = "ASSET_MISSING"
    INVALID_PRINT_OPTIONS = "INVALID_PRINT_OPTIONS"
    RENDER_TIMEOUT = "RENDER_TIMEOUT"
    RENDER_OUT_OF_MEMORY = "RENDER_OUT_OF_MEMORY"
    RENDER_CRASHED = "RENDER_CRASHED"
    BROWSER_LOST = "BROWSER_LOST"
    FONTS_MISSING = "FONTS_MISSING"
    ENGINE_MISSING = "ENGINE_MISSING"
    """The engine that was asked for is not installed here; another worker may have it."""
    STORAGE_ERROR = "STORAGE_ERROR"
    """The handler's own: the document was printed, the store did not take it."""


_RETRYABLE = frozenset(
    {
        Fault.RENDER_TIMEOUT,
        Fault.RENDER_CRASHED,
        Fault.BROWSER_LOST,
        Fault.FONTS_MISSING,
        Fault.ENGINE_MISSING,
        Fault.STORAGE_ERROR,
    }
)
_NOT_THE_DOCUMENT = frozenset({Fault.BROWSER_LOST, Fault.FONTS_MISSING})


class RenderError(Exception):
    """A document could not be printed; `code` says why, the text says what to do.

    `evidence` is what the engine saw, ready for JSON and some 20 KiB at most: `phase` (load, wait
    or print), `timings_ms` so far, `console` and `errors` (of scripts), `missing` and `blocked`
    (addresses, without queries), `engine`. Each may be absent. `screenshot` is a JPEG of the first
    page's worth, at most SCREENSHOT_BYTES, where the page could still show itself.
    """

    def __init__(
        self, code: Fault, message: str, *, evidence: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.evidence = dict(evidence or {})
        self.screenshot: bytes | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same document may succeed another time."""
        return self.code in _RETRYABLE

    @property
    def counts(self) -> bool:
        """Whether the attempt counts: False when the browser failed, not the document."""
        return self.code not in _NOT_THE_DOCUMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderResult:
    """One printed document."""

    pdf: bytes
    pages: int
    warnings: tuple[str, ...]
    timings: Mapping[str, float]
    """Milliseconds: `wait` for a page, `load`, fonts included, `print` (Chromium), `total`."""
    engine_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Bounds of one engine; the defaults were measured on two cores."""

    parallel: int = 4
    """Documents printed at the same time in this process."""
    documents_per_browser: int = 500
    documents_per_page: int = 100
    browser_age_s: float = 600.0
    browser_bytes: int = 600 * MIB
    """Private memory of the whole browser above which it is replaced."""
    renderer_bytes: int = 1536 * MIB
    """Resident memory of one renderer above which it is killed."""
    input_bytes: int = 32 * MIB
    """HTML of one document; images and fonts are assets and do not count."""
    asset_bytes: int = 64 * MIB
    """One asset: it travels in one message, a third longer."""
    stream_above_bytes: int = 8 * MIB
    """Input (HTML and assets) from which the PDF is read in pieces."""
    pdf_bytes: int = 128 * MIB
    control_timeout_s: float = 10.0
    """For calls that no document can slow down; one that does marks the browser as stuck."""
    dispose_timeout_s: float = 2.0
    screenshot_timeout_s: float = 1.0
    """How long a failed page may take to show itself before it is closed."""
    idle_packs: int = 8
    """Packs whose page is kept for their next document."""
    idle_pack_s: float = 30.0
    idle_browser_s: float = 300.0
    """A browser without work for so long is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatistics:
    """What the engine has done; logged when it closes."""

    engine_version: str | None
    browser_pid: int | None
    sandbox: bool | None
    network_namespace: bool | None
    """False: the browser shares our network, and its flags alone keep it off."""
    active: int
    documents: int
    failures: Mapping[str, int]
    browsers_started: int
    browsers_lost: int
    renderers_killed: int


class Engine(Protocol):
    """Turns HTML into PDF."""

    async def render(
        self,
        html: str,
        assets: Mapping[str, Asset],
        options: PrintOptions,
        *,
        timeout_s: float,
        pack: str | None = None,
    ) -> RenderResult:
        """Prints one document within `timeout_s` seconds; raises RenderError.

        Documents of the same `pack` may share a page, one after the other. Cancellation closes the
        page.
        """
        ...

    def statistics(self) -> EngineStatistics:
        """Facts of this moment."""
        ...
