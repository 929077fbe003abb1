"""Markdown becomes HTML that can be printed: CommonMark with tables, and nothing of it is live.

HTML in the text stays text. Links are printed with their address, since paper cannot be clicked;
of a picture its description stays. Headings begin one level lower: the document has a title.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

DEEPEST_HEADING = 6


def markdown(text: str) -> Markup:
    """The HTML of a text; everything that the text itself says is escaped."""
    reader = _reader()
    tokens = reader.parse(text)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 1, DEEPEST_HEADING)}"
        elif token.type == "inline" and token.children:
            token.children = list(_printed(token.children))
    # The reader writes the tags; with `html` off, what comes from the text is escaped by it.
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704


@functools.cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _printed(children: Sequence[Token]) -> Iterator[Token]:
    addresses: list[str] = []
    label = ""
    for child in children:
        if child.type == "link_open":
            addresses.append(str(child.attrGet("href") or ""))
            label = ""
        elif child.type == "link_close":
            address = addresses.pop()
            if address and address not in {label, f"mailto:{label}"}:
                yield _text(f" ({address})")
        elif child.type == "image":
            yield _text(child.content)
        else:
            label += child.content
            yield child


def _text(content: str) -> Token:
    return Token(type="text", tag="", nesting=0, content=content)
