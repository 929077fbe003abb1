"""The fonts that documents may count on: shipped with the product, the same on every machine.

Chromium without a font prints an empty page and says nothing, and a machine's own fonts change
what a page looks like. So each engine gives its browsers a fontconfig of its own: our families
first, the machine's behind them. The files are copied because the browser runs as a user who may
not read the folder we are installed in.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from makeready.documents.shipped import font_files
from makeready.pdf import text_of
from makeready_workers.chromium.records import Fault, RenderError

LETTERS = "Аа₽"
PROBE = f"<!doctype html><meta charset=utf-8><p>{LETTERS}</p>"
_SYSTEM_CONFIG = "/etc/fonts/fonts.conf"
_GENERIC = {"sans-serif": "IBM Plex Sans", "serif": "IBM Plex Serif"}
_ALIAS = (
    '<alias binding="same"><family>{generic}</family><prefer><family>{family}</family></prefer>'
    "</alias>"
)
_CONFIG = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>{fonts}</dir>
  <cachedir>{cache}</cachedir>
  <include ignore_missing="yes">{base}</include>
  {aliases}
</fontconfig>
"""


def furnish(folder: Path, uid: int | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Fills `folder` with the fonts and their configuration; returns the variables that say so.

    Blocking. A fontconfig that `environment` names already stands in for the machine's own.
    """
    fonts, cache = folder / "fonts", folder / "cache"
    fonts.mkdir(mode=0o755)
    cache.mkdir(mode=0o755)
    for name, content in font_files().items():
        (fonts / name).write_bytes(content)
    for path in (fonts, *fonts.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if uid is not None:
        os.chown(cache, uid, uid)
    config = folder / "fonts.conf"
    base = environment.get("FONTCONFIG_FILE", _SYSTEM_CONFIG)
    places = {"fonts": str(fonts), "cache": str(cache), "base": base}
    aliases = "".join(
        _ALIAS.format(generic=generic, family=family) for generic, family in _GENERIC.items()
    )
    config.write_text(
        _CONFIG.format(**{name: escape(text) for name, text in places.items()}, aliases=aliases)
    )
    config.chmod(0o644)
    return {"FONTCONFIG_FILE": str(config)}


async def check_letters(pdf: bytes) -> None:
    """Reads the printed `PROBE` back; RenderError (FONTS_MISSING) when letters are missing."""
    found = await asyncio.to_thread(text_of, pdf)
    if LETTERS not in found:
        raise RenderError(
            Fault.FONTS_MISSING,
            f"printed {LETTERS!r} and read back {found.strip()!r}: install fonts with Cyrillic "
            "letters and the rouble sign, such as DejaVu",
        )
