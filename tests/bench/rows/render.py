"""What printing costs beside Chromium's own work, and beside other clients of the same browser."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import logging
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pymupdf
import structlog

from makeready.config import Settings
from makeready.documents.shipped import document_type, sample
from makeready.documents.typesetting import Asset, build_html
from makeready.embedded.chromium import find_chromium
from makeready.pdf import finish_aside
from makeready.print_options import PrintOptions
from makeready_workers.chromium import ChromiumEngine, EngineLimits, open_engine
from makeready_workers.chromium.link import LinkError
from tests.bench.bench import Bench, Row
from tests.bench.peers.install import _run
from tests.bench.report import Line, at_least, at_most, median

ROW = "render"
PRINTERS = ("playwright==1.65.2", "weasyprint==70.0")
SLOW_PEERS = {"weasyprint": 5}  # takes so many times as long, and gets so many fewer rounds
PEERS_SCRIPT = Path(__file__).parents[1] / "peers" / "print_pages.py"
WARM_UP = 3
PEER_TIMEOUT_S = 120.0
HANGING = "<p>x<script>while (true) {}</script>"
AFTERWARDS = {
    "opening it again": PrintOptions(),
    "the same and PDF/A-2b": PrintOptions(pdf_a="2b"),
    "the same and a watermark": PrintOptions(watermark="ЧЕРНОВИК"),
}
LIMITS = EngineLimits(documents_per_browser=10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A document to print again and again."""

    html: str
    assets: Mapping[str, Asset]
    options: PrintOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Medians of one document printed in one way, in milliseconds."""

    total: float
    own: float
    """Chromium's `Page.printToPDF` alone, in the same calls."""

    @property
    def ratio(self) -> float:
        """How much dearer a document is than its printing."""
        return self.total / self.own


def shipped(name: str) -> Paper:
    """A document type with its Russian sample."""
    doc = document_type(name)
    made = build_html(doc, sample(doc, "ru"), "ru")
    return Paper(html=made.html, assets=made.assets, options=doc.options)


def heavy() -> Paper:
    """Ten pages of 2 MB with five photos inside, so that any client can print it."""
    dice = random.Random(7)
    pictures = []
    for _ in range(5):
        noise = pymupdf.Pixmap(pymupdf.csRGB, 512, 384, dice.randbytes(512 * 384 * 3), False)
        data = base64.b64encode(noise.tobytes("jpeg", jpg_quality=90)).decode()
        pictures.append(f'<img width=300 src="data:image/jpeg;base64,{data}">')
    row = "<tr><td>Карточки на столы<td>cards<td>1 234,50<td>12 %</tr>"
    text = "Отчёт о заказах. Orders of the quarter. " * 12
    pages = (
        f"<section><h1>Раздел {number}</h1><p>{text}</p>"
        f"<table>{row * 15}</table>{pictures[number // 2] if number % 2 else ''}</section>"
        for number in range(10)
    )
    style = (
        "@page { size: A4; margin: 18mm } section { break-after: page } td { padding: 4px 12px }"
    )
    html = f"<!doctype html><meta charset=utf-8><style>{style}</style>{''.join(pages)}"
    return Paper(html=html, assets={}, options=PrintOptions())


async def timed(engine: ChromiumEngine, paper: Paper, rounds: int, *, pack: str | None) -> Times:
    """Prints one document so often, one after the other."""
    totals, own = [], []
    for turn in range(WARM_UP + rounds):
        began = time.perf_counter()
        result = await engine.render(
            paper.html, paper.assets, paper.options, timeout_s=60, pack=pack
        )
        if turn >= WARM_UP:
            totals.append((time.perf_counter() - began) * 1e3)
            own.append(result.timings["print"])
        if pack is None:
            await spare_is_made(engine)
    return Times(total=median(totals), own=median(own))


async def spare_is_made(engine: ChromiumEngine) -> None:
    """Waits for the page that is made ahead: work comes by later than at once."""
    while engine._pages._making:  # noqa: ASYNC110 (not ours to signal)
        await asyncio.sleep(0.001)


async def cold_start() -> float:
    """From nothing to the first PDF, in milliseconds."""
    began = time.perf_counter()
    async with open_engine(Settings()) as engine:
        await engine.render("<p>first", {}, PrintOptions(), timeout_s=30)
        return (time.perf_counter() - began) * 1e3


async def hung_page(engine: ChromiumEngine) -> tuple[float, float]:
    """Milliseconds to close a hanging page, and of a neighbour's slowest document meanwhile."""
    supervisor, options = engine._supervisor, PrintOptions(scripts=True)
    browser = await supervisor.acquire()
    page = await browser.open_page(LIMITS, scripts=True)
    hanging = asyncio.create_task(page.print(HANGING, {}, options, LIMITS))
    await asyncio.sleep(0.1)
    worst = 0.0
    for _ in range(5):
        began = time.perf_counter()
        await engine.render("<p>x", {}, PrintOptions(), timeout_s=30, pack="neighbour")
        worst = max(worst, (time.perf_counter() - began) * 1e3)
    began = time.perf_counter()
    closed = await browser.dispose(page, LIMITS)
    took = (time.perf_counter() - began) * 1e3
    supervisor.release(browser)
    ended = (await asyncio.gather(hanging, return_exceptions=True))[0]
    if not closed or not isinstance(ended, LinkError):
        raise RuntimeError("the hanging page was not closed")
    return took, worst


async def compared(bench: Bench, paper: Paper, rounds: int) -> tuple[Times, dict[str, float]]:
    """Our times and the median of each peer, for the same HTML in the same browser, in turns."""
    path = bench.folder / "render" / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(paper.html, "utf-8")
    programs = {} if bench.is_quick or bench.is_alone else await _programs(bench)
    ours: list[Times] = []
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(bench.rounds):  # a slow minute of the machine hits all of them
        async with open_engine(Settings(), limits=LIMITS) as engine:
            ours.append(await timed(engine, paper, rounds, pack="large"))
        for name, program in programs.items():
            turns = max(3, rounds // SLOW_PEERS.get(name, 1))
            found[name].append(await _peer(name, program, path, turns))
    middle = Times(total=median([t.total for t in ours]), own=median([t.own for t in ours]))
    return middle, {name: median(times) for name, times in found.items()}


async def _programs(bench: Bench) -> dict[str, str]:
    """The interpreter of each peer that can be had."""
    found = {}
    try:
        python = await _printers(bench.folder.parent / "peers" / "printers")
        found = {wanted.partition("==")[0]: python for wanted in PRINTERS}
    except (OSError, RuntimeError, TimeoutError) as error:
        print(f"  not measured: {', '.join(PRINTERS)}: {error}")
    if importlib.util.find_spec("pyppeteer") is not None:
        found["pyppeteer"] = sys.executable
    return found


async def finishing(paper: Paper, rounds: int) -> dict[str, float]:
    """Milliseconds of what is done after printing, opening again included, by what is asked."""
    async with open_engine(Settings()) as engine:
        printed = await engine.render(paper.html, paper.assets, paper.options, timeout_s=60)
    found = {}
    for what, options in AFTERWARDS.items():
        times = []
        for turn in range(WARM_UP + rounds):
            began = time.perf_counter()
            await finish_aside(printed.pdf, options, pages=printed.pages)
            if turn >= WARM_UP:
                times.append((time.perf_counter() - began) * 1e3)
        found[what] = median(times)
    return found


async def measure(bench: Bench) -> Sequence[Line]:
    """All figures; on one device only, for a disk plays no part."""
    if bench.is_slow:
        return []
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    invoice, report, large = shipped("invoice"), shipped("report"), heavy()
    many, few = bench.scaled(60, 8), bench.scaled(20, 3)
    starts = [await cold_start() for _ in range(bench.scaled(7, 2))]
    async with open_engine(Settings(), limits=LIMITS) as engine:
        in_pack = await timed(engine, invoice, many, pack="invoice")
        pages = await timed(engine, report, few, pack="report")
        fresh = await timed(engine, report, few, pack=None)
        hung = [await hung_page(engine) for _ in range(bench.scaled(5, 2))]
    async with open_engine(Settings(), name="pyppeteer", limits=LIMITS) as second:
        by_second = await timed(second, large, few, pack="second")
    after = {name: await finishing(shipped(name), few) for name in ("invoice", "report")}
    ours, others = await compared(bench, large, few)
    return [
        *_ratio(bench, "an invoice in a pack", in_pack, 1.4),
        *_ratio(bench, "a 10-page report in a pack", pages, 1.5),
        *_ratio(bench, "a 10-page report in a fresh context", fresh, 1.9),
        bench.figure(ROW, "a 10-page report of 2 MB in a pack", ours.total, "ms"),
        *_rivals(bench, ours, others),
        bench.figure(ROW, "the same by the second engine", by_second.total, "ms"),
        *(
            bench.figure(ROW, f"after printing {name}: {what}", took, "ms")
            for name, times in after.items()
            for what, took in times.items()
        ),
        bench.figure(ROW, "cold start to the first PDF", median(starts), "ms"),
        at_most(ROW, bench.device, "cold start ≤ 150 ms", median(starts), 150),
        bench.figure(ROW, "closing a hanging page", max(took for took, _ in hung), "ms", "worst"),
        at_most(ROW, bench.device, "closing ≤ 50 ms", max(took for took, _ in hung), 50),
        bench.figure(
            ROW, "a hanging page's neighbour", max(slow for _, slow in hung), "ms", "worst"
        ),
    ]


def _ratio(bench: Bench, what: str, times: Times, goal: float) -> list[Line]:
    note = f"Chromium alone {times.own:.1f} ms"
    said = f"{what}: ≤ {goal} × Chromium alone"
    return [
        bench.figure(ROW, what, times.total, "ms", note),
        at_most(ROW, bench.device, said, times.ratio, goal, unit="×"),
    ]


def _rivals(bench: Bench, ours: Times, others: Mapping[str, float]) -> list[Line]:
    lines: list[Line] = []
    for name, factor in (("playwright", 1.2), ("pyppeteer", 2.0)):
        if name in others:
            goal = f"≥ {factor} × {name} on the report of 2 MB"
            lines += [
                bench.figure(ROW, f"{name}: the same report", others[name], "ms"),
                at_least(ROW, bench.device, goal, others[name] / ours.total, factor, unit="×"),
            ]
    if "weasyprint" in others:
        lines.append(bench.figure(ROW, "weasyprint: the same report", others["weasyprint"], "ms"))
    return lines


async def _printers(home: Path) -> str:
    python, stamp, wanted = home / "bin" / "python", home / "installed", "\n".join(PRINTERS)
    if not stamp.exists() or stamp.read_text() != wanted:
        home.parent.mkdir(parents=True, exist_ok=True)
        await _run([sys.executable, "-m", "venv", "--clear", str(home)], home.parent)
        await _run([str(python), "-m", "pip", "install", "-q", *PRINTERS], home.parent)
        stamp.write_text(wanted)
    return str(python)


async def _peer(name: str, python: str, path: Path, rounds: int) -> float:
    chromium = str(find_chromium(Settings()).path)
    process = await asyncio.create_subprocess_exec(
        *(python, str(PEERS_SCRIPT), name, chromium, str(path), str(rounds)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PEER_TIMEOUT_S):
            out, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    if process.returncode != 0:
        raise RuntimeError(complaint.decode(errors="replace").strip().splitlines()[-1:])
    return median(json.loads(out.splitlines()[-1])["ms"])


ROWS = (Row(name=ROW, about="documents: what is added to Chromium's own time", measure=measure),)
