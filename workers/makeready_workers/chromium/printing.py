"""What `Page.printToPDF` is told, and what its refusals mean."""

from __future__ import annotations

import re
from typing import Any

from makeready.print_options import PAPERS_MM, PrintOptions
from makeready_workers.chromium.link import CallRefused
from makeready_workers.chromium.records import Fault, RenderError

MM_PER_INCH = 25.4
_BAD_PARAMETERS = -32602
# Where the transport tells no number, and for page ranges, which Chromium gives the general one.
_BAD_OPTIONS = re.compile(
    r"page range|print parameters|invalid parameters|outside of|zero or negative", re.IGNORECASE
)


def print_params(options: PrintOptions, *, stream: bool) -> dict[str, Any]:
    """The parameters of one print."""
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
        "transferMode": "ReturnAsStream" if stream else "ReturnAsBase64",
    }


def print_fault(refused: CallRefused) -> RenderError:
    """Whether the options were bad, or the document could not be printed."""
    if refused.code == _BAD_PARAMETERS or _BAD_OPTIONS.search(refused.text):
        return RenderError(Fault.INVALID_PRINT_OPTIONS, refused.text)
    return RenderError(Fault.RENDER_CRASHED, f"Chromium could not print: {refused.text}")
