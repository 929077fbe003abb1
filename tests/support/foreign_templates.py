"""Templates as programs make them that are not ours: each has its own way to write a PDF.

Those of programs that are not installed are left out.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pikepdf
import pymupdf
from PIL import Image

from makeready.config import Settings
from makeready.embedded.chromium import find_chromium

Maker = Callable[[Path], bytes]
"""Of a folder to work in."""
TIMEOUT_S = 50
PT = 72 / 25.4
WIDTH_MM, HEIGHT_MM = 105, 148

SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="105mm" height="148mm"
 viewBox="0 0 105 148">
<defs>
<linearGradient id="sky" x2="0" y2="1"><stop stop-color="#204060"/><stop offset="1"
 stop-color="#d0a060"/></linearGradient>
<radialGradient id="glow"><stop stop-color="#fff" stop-opacity=".9"/><stop offset="1"
 stop-color="#fff" stop-opacity="0"/></radialGradient>
<clipPath id="round"><circle cx="52" cy="20" r="15"/></clipPath>
<filter id="blur"><feGaussianBlur stdDeviation="1"/></filter>
<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse"><circle cx="3" cy="3" r="1"
 fill="#000" fill-opacity=".2"/></pattern>
<mask id="veil"><rect width="105" height="148" fill="url(#glow)"/></mask>
</defs>
<rect width="105" height="148" fill="url(#sky)"/><rect width="105" height="148" fill="url(#dots)"/>
<circle cx="52" cy="74" r="60" fill="url(#glow)" opacity=".6"/>
<g clip-path="url(#round)"><rect x="30" width="50" height="40" fill="#c33" opacity=".8"/></g>
<rect x="15" y="100" width="75" height="25" rx="4" fill="#fff" opacity=".85"/>
<rect x="5" y="130" width="40" height="8" filter="url(#blur)"/>
<g mask="url(#veil)"><rect width="105" height="148" fill="#0a0" opacity=".4"/></g>
<text x="52" y="30" font-family="Noto Sans" font-size="8" text-anchor="middle"
 fill="#fff">Ресторан «Ёлки»</text></svg>"""

HTML = """<!doctype html><html lang="ru"><meta charset="utf-8"><style>
@page { size: 105mm 148mm; margin: 0 } body { margin: 0; font-family: Noto Sans }
div { position: absolute } h1 { position: absolute; top: 10mm; width: 100%; text-align: center;
color: #fff; mix-blend-mode: difference }
</style><div style="inset: 0; background: linear-gradient(#234, #da6)"></div>
<div style="left: 10mm; top: 30mm; width: 20mm; height: 20mm; background: red; opacity: .5;
transform: rotate(10deg)"></div><div style="left: 15mm; top: 104mm; width: 75mm; height: 16mm;
background: #fffc; border-radius: 3mm; box-shadow: 0 0 2mm #0008"></div>
<h1>Ресторан «Ёлки»</h1></html>"""

POSTSCRIPT = """%!PS
<< /PageSize [298 420] >> setpagedevice
true setoverprint
0.6 0.1 0 0 setcmykcolor 0 0 298 420 rectfill
0 0.8 0.9 0 setcmykcolor 100 300 60 0 360 arc fill
0 0 0 1 setcmykcolor /Helvetica findfont 24 scalefont setfont 60 380 moveto (Menu) show
2 2 scale showpage
"""

TEX = r"""\documentclass{article}
\usepackage[paperwidth=105mm,paperheight=148mm,margin=5mm]{geometry}
\usepackage[cmyk]{xcolor}\pagestyle{empty}\begin{document}
\pagecolor[cmyk]{.3,.1,0,0}\color[cmyk]{0,0,0,1}\centering{\Huge Menu}\newpage Menu
\end{document}"""

SCRIBUS = """
import scribus
scribus.newDocument((105, 148), (5, 5, 5, 5), 0, 1, scribus.UNIT_MILLIMETERS, 0, 0, 2)
scribus.defineColorCMYK("deep", 200, 120, 20, 40)
scribus.defineColorCMYK("spot", 0, 180, 255, 0)
scribus.setSpotColor("spot", True)
for page in (1, 2):
    scribus.gotoPage(page)
    ground = scribus.createRect(-3, -3, 111, 154)
    scribus.setFillColor("deep", ground)
    ball = scribus.createEllipse(30, 10, 40, 30)
    scribus.setFillColor("spot", ball)
    scribus.setFillTransparency(0.4, ball)
pdf = scribus.PDFfile()
pdf.file, pdf.version, pdf.outdst, pdf.cropMarks, pdf.useDocBleeds = "made.pdf", %d, 1, True, False
pdf.bleedt = pdf.bleedb = pdf.bleedl = pdf.bleedr = 3
pdf.info = "template"
pdf.save()
"""


def ran(folder: Path, *words: str, made: str = "made.pdf") -> bytes:
    """The file that a program wrote into the folder."""
    environ = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "QT_QPA_PLATFORM": "offscreen"}
    subprocess.run(
        words, cwd=folder, env=environ, timeout=TIMEOUT_S, check=True, capture_output=True
    )
    return (folder / made).read_bytes()


def _written(folder: Path, name: str, text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    return name


def chromium(folder: Path) -> bytes:
    """What a browser prints, blended in RGB."""
    shell = str(find_chromium(Settings()).path)
    page = folder / _written(folder, "card.html", HTML)
    return ran(
        folder, shell, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
        "--print-to-pdf=made.pdf", page.as_uri(),
    )  # fmt: skip


def inkscape(folder: Path) -> bytes:
    """Cairo behind a drawing program."""
    _written(folder, "card.svg", SVG)
    return ran(folder, "inkscape", "card.svg", "--export-filename=made.pdf")


def rsvg(folder: Path) -> bytes:
    """Cairo again, another use of it."""
    _written(folder, "card.svg", SVG)
    return ran(folder, "rsvg-convert", "-f", "pdf", "-o", "made.pdf", "card.svg")


def libreoffice(folder: Path) -> bytes:
    """Draw, which turns a drawing into shapes of its own."""
    _written(folder, "card.svg", SVG)
    words = ("soffice", "--headless", "--convert-to", "pdf:draw_pdf_Export", "card.svg")
    return ran(folder, *words, made="card.pdf")


def scribus(version: int) -> Maker:
    """Layout: bleed, crop marks, a spot colour, transparency blended in CMYK."""

    def maker(folder: Path) -> bytes:
        _written(folder, "card.py", SCRIBUS % version)
        return ran(folder, "scribus", "-g", "-ns", "-py", "card.py")

    return maker


def ghostscript(*options: str) -> Maker:
    """A distiller, fed with art that leaves overprint and a scale behind."""

    def maker(folder: Path) -> bytes:
        _written(folder, "card.ps", POSTSCRIPT)
        return ran(
            folder, "gs", "-q", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pdfwrite", *options,
            "-o", "made.pdf", "card.ps",
        )  # fmt: skip

    return maker


def tex(folder: Path) -> bytes:
    """Object streams, a background that is drawn behind the page."""
    _written(folder, "made.tex", TEX)
    return ran(folder, "pdflatex", "-interaction=batchmode", "made.tex")


def weasyprint(folder: Path) -> bytes:
    """Trim and bleed from a style sheet."""
    bled = HTML.replace("margin: 0 }", "margin: 0; bleed: 3mm; marks: crop }", 1)
    _written(folder, "card.html", bled)
    return ran(folder, "weasyprint", "card.html", "made.pdf")


def reportlab(folder: Path) -> bytes:
    """CMYK, a spot colour, boxes, a turned page, and form fields that mark where things go."""
    from reportlab.lib.colors import CMYKColor, CMYKColorSep  # noqa: PLC0415
    from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415

    path, edge = folder / "made.pdf", 3 * PT
    wide, high = WIDTH_MM * PT + 2 * edge, HEIGHT_MM * PT + 2 * edge
    canvas = Canvas(str(path), pagesize=(wide, high))
    for page in (1, 2):
        canvas.setFillColor(CMYKColor(0.8, 0.2, 0.1, 0))
        canvas.rect(0, 0, wide, high, fill=1, stroke=0)
        canvas.setFillColor(CMYKColorSep(0, 0.7, 1, 0, spotName="PANTONE 021 C", density=0.8))
        canvas.circle(150, 370, 40, fill=1, stroke=0)
        canvas.setFillAlpha(0.5)
        canvas.setFillColor(CMYKColor(0, 0, 1, 0))
        canvas.rect(60, 60, 170, 90, fill=1, stroke=0)
        canvas.setTrimBox((edge, edge, wide - edge, high - edge))
        canvas.setBleedBox((0, 0, wide, high))
        if page == 1:
            place = {"x": 82, "y": 180, "width": 150, "height": 150}
            canvas.acroForm.textfield(name="table.url", **place)
        else:
            canvas.setPageRotation(180)
        canvas.showPage()
    canvas.save()
    return path.read_bytes()


def pillow(_: Path) -> bytes:
    """A scan: nothing but one picture in CMYK."""
    out = io.BytesIO()
    Image.new("CMYK", (1240, 1748), (120, 40, 20, 0)).save(out, "PDF", resolution=300)
    return out.getvalue()


def mupdf(_: Path) -> bytes:
    """HTML laid out by MuPDF, its own fonts in it."""
    out = io.BytesIO()
    story = pymupdf.Story("<h1 style='color: #822'>Ресторан «Ёлки»</h1>" + "<p>меню </p>" * 12)
    writer = pymupdf.DocumentWriter(out)
    page = pymupdf.Rect(0, 0, WIDTH_MM * PT, HEIGHT_MM * PT)
    device = writer.begin_page(page)
    story.place(pymupdf.Rect(20, 20, page.width - 20, page.height - 20))
    story.draw(device)
    writer.end_page()
    writer.close()
    return out.getvalue()


def rewritten(maker: Maker, **saved: Any) -> Maker:
    """As qpdf writes it anew."""

    def again(folder: Path) -> bytes:
        out = io.BytesIO()
        with pikepdf.open(io.BytesIO(maker(folder))) as document:
            document.save(out, **saved)
        return out.getvalue()

    return again


_STREAMS = pikepdf.ObjectStreamMode.generate
MAKERS: Mapping[str, tuple[str, Maker]] = {
    "chromium": ("", chromium),
    "chromium, linearized": (
        "", rewritten(chromium, linearize=True, object_stream_mode=_STREAMS),
    ),
    "ghostscript": ("gs", ghostscript()),
    "ghostscript, PDF 1.3": ("gs", ghostscript("-dCompatibilityLevel=1.3")),
    "ghostscript, gray": (
        "gs", ghostscript("-sColorConversionStrategy=Gray", "-dProcessColorModel=/DeviceGray"),
    ),
    "inkscape": ("inkscape", inkscape),
    "libreoffice": ("soffice", libreoffice),
    "mupdf": ("", mupdf),
    "pillow": ("", pillow),
    "reportlab": ("", reportlab),
    "rsvg": ("rsvg-convert", rsvg),
    "scribus, PDF 1.4": ("scribus", scribus(14)),
    "scribus, PDF/X-1a": ("scribus", scribus(11)),
    "scribus, PDF/X-4": ("scribus", scribus(10)),
    "tex": ("pdflatex", tex),
    "weasyprint": ("weasyprint", weasyprint),
}  # fmt: skip
"""By name: the program, unless it comes with the project; and what makes the file."""


def is_there(program: str) -> bool:
    """Whether it is installed."""
    return not program or shutil.which(program) is not None
