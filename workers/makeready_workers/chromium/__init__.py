"""The default render engine: HTML to PDF by headless Chromium over two pipes, locked away."""

from __future__ import annotations

from makeready_workers.chromium.engine import ChromiumEngine, open_engine
from makeready_workers.chromium.records import (
    Engine,
    EngineLimits,
    EngineStatistics,
    Fault,
    RenderError,
    RenderResult,
)

__all__ = [
    "ChromiumEngine",
    "Engine",
    "EngineLimits",
    "EngineStatistics",
    "Fault",
    "RenderError",
    "RenderResult",
    "open_engine",
]
