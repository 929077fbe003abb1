"""The hiring pack: twelve documents on one vacancy, and example data for any profession."""

from __future__ import annotations

from typing import Any

from makeready.documents.shipped import document_type, sample
from makeready.documents.wording import LANGUAGES
from makeready.errors import Rejected
from makeready.shapes import problem

DOCUMENTS = (
    "free_report",
    "budget_reality_check",
    "vacancy_profile",
    "scorecard",
    "screening_script",
    "sourcing_pack",
    "hiring_pack",
    "role_snapshot",
    "quality_report",
    "manifest",
    "interview_guide",
    "offer_template",
)
"""The documents of a pack, in the order in which people read them."""

PROFESSION_LIMIT = 120  # characters, as the schema of the pack has it


def pack(profession: str, lang: str) -> dict[str, dict[str, Any]]:
    """The data of all twelve documents, for a profession as somebody typed it.

    It is what the samples say, with this profession in place of theirs. Raises Rejected for a
    profession that is empty, too long or cannot be printed.
    """
    role = _role(profession)
    if lang not in LANGUAGES:
        raise ValueError(f"no hiring pack in {lang!r}, only in {', '.join(LANGUAGES)}")
    made = {}
    for name in DOCUMENTS:
        data = sample(document_type(name), lang)
        made[name] = _replaced(data, data["vacancy"]["role"], role)
    return made


def _role(profession: str) -> str:
    words = " ".join(profession.split())
    role = words[:1].upper() + words[1:]
    if not role:
        found = problem("too_short", "profession", "the profession is empty", "such as Barista")
    elif len(role) > PROFESSION_LIMIT:
        text = f"the profession has {len(role)} characters"
        found = problem("too_long", "profession", text, f"at most {PROFESSION_LIMIT} characters")
    elif not role.isprintable():
        text, hint = "the profession cannot be printed", "leave control characters out"
        found = problem("bad_character", "profession", text, hint)
    else:
        return role
    raise Rejected(found["message"], details={"problems": [found]})


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_replaced(each, old, new) for each in value]
    if isinstance(value, dict):
        return {key: _replaced(each, old, new) for key, each in value.items()}
    return value
