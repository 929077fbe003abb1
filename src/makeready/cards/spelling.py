"""Names and strings of a PDF as text: they are bytes, and not every program writes UTF-8."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from pikepdf import Name, String

_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f]+")


def text_of(value: Any) -> str:
    """A name with its slash, or a string; of anything else nothing."""
    if isinstance(value, Name):
        raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), value.unparse())
    elif isinstance(value, String):
        raw = bytes(value)
        with contextlib.suppress(UnicodeError):
            raw = str(value).encode()
    else:
        return ""
    try:
        text = raw.decode()
    except UnicodeError:
        text = raw.decode("cp1251", "replace")
    return _UNPRINTABLE.sub(" ", text)
