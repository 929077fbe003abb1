"""Markdown that is printed: nothing of it is live. Proves RND-020."""

from __future__ import annotations

import pytest

from makeready.documents.prose import markdown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A", "<h2>A</h2>"),
        ("###### A", "<h6>A</h6>"),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>"),
        ("[a *b*](https://c.example/?d&e)", "<p>a <em>b</em> (https://c.example/?d&amp;e)</p>"),
        ("<https://c.example>", "<p>https://c.example</p>"),
        ("<a@c.example>", "<p>a@c.example</p>"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("![a picture](x.png)", "<p>a picture</p>"),
        ("[![y](z.png)](https://c.example)", "<p>y (https://c.example)</p>"),
        ("`<i>`", "<p><code>&lt;i&gt;</code></p>"),
        ("&amp; & <", "<p>&amp; &amp; &lt;</p>"),
    ],
)
def test_text_stays_text_and_links_say_where_they_lead(text: str, html: str) -> None:
    assert markdown(text).strip() == html


def test_tables_are_printed() -> None:
    found = markdown("|a|b|\n|-|-|\n|1|<i>|")
    assert "<th>a</th>" in found
    assert "<td>&lt;i&gt;</td>" in found
