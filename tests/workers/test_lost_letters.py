"""The letters that no font has are named, also of HTML that was made to take hours."""

from __future__ import annotations

import pytest

from makeready_workers.render_document import LETTERS_NAMED, _letters


def test_letters_are_those_that_are_shown() -> None:
    html = "<title>а</title><p class='б'>в &#x433; д<script>е</script><style>ж"
    assert _letters(html, "д") == "в (U+0432), г (U+0433)"


@pytest.mark.parametrize("tag", ["<", "<script ", "<script>", "<a b='", "</style "])
def test_tags_that_never_end_are_read_once(tag: str) -> None:
    """The search holds the interpreter lock: a second one would stop every heartbeat."""
    assert _letters("ы" + tag * 300_000, "") == "ы (U+044B)"


def test_no_more_are_named_than_somebody_reads() -> None:
    many = "".join(map(chr, range(0x4E00, 0x4E00 + LETTERS_NAMED + 1)))
    assert _letters(many, "").endswith(" and others")
