"""HTML that a caller has sent: unpacked from its archive, made ready for the engine.

The archive holds `index.html` and whatever it refers to, by paths relative to it. The engine puts
HTML into `about:blank`, which has no place of its own: a `<base>` gives it one, the origin whose
requests are answered from the assets. It stands first, so that it wins over one of the document.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
import zipfile
from io import BytesIO

from makeready.documents.typesetting import (
    ASSET_ORIGIN,
    HTML_LIMIT_BYTES,
    Asset,
    Html,
    TemplateFailed,
)

INDEX = "index.html"
UNPACKED_LIMIT_BYTES = 256 * 1024 * 1024
# What browsers read, by Python's names. It knows others; some take hours of a megabyte.
_ENCODINGS = re.compile(
    r"ascii|big5(hkscs)?|cp(866|932|949|125[0-8])|euc_(jp|kr)|gb(2312|18030|k)|iso2022_jp"
    r"|iso8859-\d+|koi8-[ru]|mac-(cyrillic|roman)|shift_jis|tis-620|utf-(8|16)(-sig|-be|-le)?"
)
_OCTETS = "application/octet-stream"
_SNIFFED_BYTES = 1024
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
# What may stand before the doctype; a tag before it would make the browser print in quirks mode.
_PROLOGUE = re.compile(
    r"\s*(?:<!--(?:(?!-->).)*-->\s*|<\?[^>]*>\s*)*(?:<!doctype[^>]*>)?", re.IGNORECASE | re.DOTALL
)


def unpack(archive: bytes) -> Html:
    """The HTML and its assets; raises TemplateFailed when they cannot be printed."""
    try:
        with zipfile.ZipFile(BytesIO(archive)) as held:
            if sum(entry.file_size for entry in held.infolist()) > UNPACKED_LIMIT_BYTES:
                raise TemplateFailed(f"the sources are above {UNPACKED_LIMIT_BYTES} bytes")
            bodies = {entry.filename: held.read(entry) for entry in held.infolist()}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise TemplateFailed(f"the sources cannot be read: {error}") from error
    index = bodies.pop(INDEX, None)
    if index is None:
        raise TemplateFailed(f"the sources have no {INDEX}")
    html = based(decoded(index))
    if len(html.encode()) > HTML_LIMIT_BYTES:
        raise TemplateFailed(f"the HTML is above {HTML_LIMIT_BYTES} bytes")
    return Html(html=html, assets={name: _asset(name, body) for name, body in bodies.items()})


def decoded(index: bytes) -> str:
    """The text in the encoding that its first bytes state; raises TemplateFailed.

    Where none is stated it is UTF-8, else what browsers take it for.
    """
    stated = _CHARSET.search(index[:_SNIFFED_BYTES])
    name = _unstated(index) if stated is None else stated[1].decode()
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if index.startswith(mark):
            name = encoding
    try:
        if _ENCODINGS.fullmatch(codecs.lookup(name).name):
            return index.decode(name)
    except (LookupError, UnicodeError):
        pass
    raise TemplateFailed(f"the HTML is not text in {name}")


def _unstated(index: bytes) -> str:
    try:
        index.decode()
    except UnicodeError:
        return "windows-1252"
    return "utf-8"


def based(html: str) -> str:
    """The HTML with a base for its relative addresses, behind the doctype."""
    prologue = _PROLOGUE.match(html)
    end = 0 if prologue is None else prologue.end()
    return f'{html[:end]}<base href="{ASSET_ORIGIN}">{html[end:]}'


def _asset(name: str, body: bytes) -> Asset:
    return Asset(media_type=mimetypes.guess_type(name)[0] or _OCTETS, content=body)
