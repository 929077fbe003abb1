"""In which language a person is told what is wrong: Russian or English, as the request prefers."""

from __future__ import annotations

import re
from typing import Literal

from starlette.requests import Request

Language = Literal["ru", "en"]

_RANGE = re.compile(
    r"\s*([a-z]{1,8}|\*)(?:-[a-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*"
)


def language_of(request: Request) -> Language:
    """`ru` where Accept-Language prefers Russian to English, else `en`."""
    weights = {"ru": 0.0, "en": 0.0, "*": 0.0}
    places = {"ru": len(weights), "en": len(weights)}
    said = request.headers.get("accept-language", "").lower()[:400].split(",")
    for place, text in enumerate(said):
        found = _RANGE.fullmatch(text)
        if found and found[1] in weights and not weights[found[1]]:
            weights[found[1]] = float(found[2] or 1)
            places[found[1]] = place
    is_first = weights["ru"] == weights["en"] > 0 and places["ru"] < places["en"]
    return "ru" if weights["ru"] > weights["en"] or is_first else "en"
