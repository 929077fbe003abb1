"""What people read about a problem: a sentence and what to do, in Russian or English; pure.

The sentences stand in `wording.en.json` and `wording.ru.json` by code, or by `code.case` where a
code has several. `{name}` is a fact of the problem; what stands in `[…]` is left out where one of
its facts is missing.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from makeready.cards.problems import Problem

LANGUAGES = ("ru", "en")
MAX_NAMED = 10
"""Tables and other names that a sentence lists."""
MAX_LENGTH = 200
"""Characters of one fact."""
GROUPED = 10_000
"""From here on, digits come in groups of three."""

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FACT = re.compile(r"\{(\w+)\}")
_MORE = {"ru": "и ещё {}", "en": "and {} more"}
_TABLES = {"ru": ("стол", "столы"), "en": ("table", "tables")}


def text(problem: Problem, lang: str) -> tuple[str, str]:
    """Message and hint in `ru`, or else in English; of a code without words, the code itself."""
    lang = lang if lang in LANGUAGES else "en"
    sentences = _sentences(lang)
    case = f"{problem.code}.{problem.facts.get('case')}"
    found = sentences.get(case) or sentences.get(problem.code) or [problem.code, ""]
    words = {
        name: _word(name, value, lang) for name, value in problem.facts.items() if name != "case"
    }
    message, hint = (_filled(each, words) for each in found)
    if problem.tables:
        one, many = _TABLES[lang]
        named = _listed(problem.tables, lang)
        message += f" ({one if len(problem.tables) == 1 else many} {named})"
    return message, hint


def codes() -> frozenset[str]:
    """All codes that have words in every language."""
    known = [{key.partition(".")[0] for key in _sentences(lang)} for lang in LANGUAGES]
    return frozenset(set.intersection(*known))


@functools.cache
def _sentences(lang: str) -> Mapping[str, Sequence[str]]:
    path = Path(__file__).with_name(f"wording.{lang}.json")
    found: dict[str, list[str]] = json.loads(path.read_text("utf-8"))
    return found


@functools.cache
def _terms(lang: str) -> Mapping[str, Mapping[str, str]]:
    """Words that facts stand for, such as the side of a page, by the fact's name."""
    path = Path(__file__).with_name(f"terms.{lang}.json")
    found: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    return found


def _filled(sentence: str, words: Mapping[str, str]) -> str:
    def optional(match: re.Match[str]) -> str:
        return match[1] if all(words.get(name) for name in _FACT.findall(match[1])) else ""

    return _FACT.sub(lambda match: words.get(match[1]) or "?", _OPTIONAL.sub(optional, sentence))


def _word(name: str, value: Any, lang: str) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _listed([_word(name, each, lang) for each in value], lang)
    if isinstance(value, float):
        shown = f"{value:.2f}".rstrip("0").rstrip(".")
        return shown.replace(".", ",") if lang == "ru" else shown
    if isinstance(value, int) and abs(value) >= GROUPED:
        return f"{value:,}".replace(",", "\N{NO-BREAK SPACE}" if lang == "ru" else ",")
    found = "" if value is None else str(value)
    found = _terms(lang).get(name, {}).get(found, found)
    return found if len(found) <= MAX_LENGTH else found[: MAX_LENGTH - 1] + "…"


def _listed(names: Sequence[str], lang: str) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    left = len(names) - MAX_NAMED
    return f"{shown} {_MORE[lang].format(left)}" if left > 0 else shown
