"""An engine that prints the same page for everything, or raises what the test wants."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pymupdf

from makeready.documents import shipped
from makeready.documents.typesetting import Asset
from makeready.print_options import PrintOptions
from makeready_workers.chromium.records import EngineStatistics, RenderResult


@functools.cache
def small_pdf() -> bytes:
    """One page of text in a font that is embedded: what a good engine gives."""
    document = pymupdf.open()
    page = document.new_page()
    font = next(iter(shipped.font_files().values()))
    page.insert_font(fontname="F0", fontbuffer=font)
    page.insert_text((72, 72), "Привет", fontname="F0")
    return bytes(document.tobytes())


class PaperEngine:
    """Prints the same page for everything, or raises what the test wants."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.pdf = small_pdf()
        self.packs: list[str | None] = []
        self.timeouts: list[float] = []

    async def render(
        self,
        html: str,
        assets: Mapping[str, Asset],
        options: PrintOptions,
        *,
        timeout_s: float,
        pack: str | None = None,
    ) -> RenderResult:
        assert "<" in html
        assert all(asset.content for asset in assets.values())
        assert options.css_page_size in (True, False)
        self.packs.append(pack)
        self.timeouts.append(timeout_s)
        if self.fault is not None:
            raise self.fault
        timings = {"total": 1.0}
        return RenderResult(
            pdf=self.pdf, pages=1, warnings=(), timings=timings, engine_version="paper 1"
        )

    def statistics(self) -> EngineStatistics:
        return cast("EngineStatistics", SimpleNamespace(engine_version="paper 1"))
