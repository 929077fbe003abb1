"""Names that mark a place in a designer's PDF: what belongs there. What marks is not printed."""

from __future__ import annotations

import re

_ALIASES = {
    "qr": "{table.url}",
    "qrcode": "{table.url}",
    "code": "{table.url}",
    "link": "{table.url}",
    "url": "{table.url}",
    "код": "{table.url}",
    "ссылка": "{table.url}",
    "table": "{table.number}",
    "number": "{table.number}",
    "label": "{table.number}",
    "стол": "{table.number}",
    "номер": "{table.number}",
    "restaurant": "{restaurant.name}",
    "ресторан": "{restaurant.name}",
    "section": "{table.section}",
    "зал": "{table.section}",
}
"""Names that people give form fields, lower case, without digits and marks."""


def marked(name: str, *, is_note: bool = False) -> str:
    """The value that a form field of this name, or a note that says it, asks for; or nothing.

    `{table.url}` and `table.url` mark a place; of a form field, so does `QR code 2`.
    """
    text = re.sub(r"(#|_)\d+$|\[\d+\]$", "", name.strip())
    if re.fullmatch(r"(?:table|restaurant|generation|row)\.\w+", text):
        return f"{{{text}}}"
    if re.search(r"\{[^{}]+\}", text):
        return text
    plain = re.sub(r"[\W\d_]+", "", text).lower()
    return "" if is_note else _ALIASES.get(plain, "")
