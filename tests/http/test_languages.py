"""Which language a request is answered in."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from makeready_http.languages import language_of


@pytest.mark.parametrize(
    ("said", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
        ("en-US,en;q=0.9,ru;q=0.8", "en"),
        ("en;q=0.5, ru;q=0.6", "ru"),
        ("ru, en", "ru"),
        ("en, ru", "en"),
        ("kk, ru;q=0.5", "ru"),
        ("de, fr", "en"),
        ("ru;q=0", "en"),
        ("*", "en"),
        ("ru;q=zwei", "en"),
        (";;;,,,ru;q=1.0", "ru"),
        ("RU", "ru"),
    ],
)
def test_the_language_is_the_one_that_is_preferred(said: str | None, language: str) -> None:
    headers = [] if said is None else [(b"accept-language", said.encode())]
    assert language_of(Request({"type": "http", "headers": headers})) == language
