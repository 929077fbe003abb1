"""The sandbox that templates run in: all is escaped, and a missing name is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import CodeType
from typing import Any

import jinja2
from jinja2.bccache import Bucket, BytecodeCache
from jinja2.sandbox import ImmutableSandboxedEnvironment

from makeready.documents import figures
from makeready.documents.prose import markdown
from makeready.documents.wording import LANGUAGES, Wording, cents, groups

_FILTERS = ("number", "money", "date", "plural", "in_words", "typo")
_COMPILED_KEPT = 500


class _Compiled(BytecodeCache):
    """Compiled templates by name and source: what many types include is compiled once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if len(self._kept) >= _COMPILED_KEPT:
            self._kept.clear()
        if bucket.code is not None:
            self._kept[bucket.key, bucket.checksum] = bucket.code


_compiled = {lang: _Compiled() for lang in LANGUAGES}
"""By language, as a filter of a text that is in the template is applied while it is compiled."""


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment of one template and what it includes, in one language."""

    def __init__(self, sources: Mapping[str, str], lang: str) -> None:
        super().__init__(
            loader=jinja2.DictLoader(sources),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            bytecode_cache=_compiled.get(lang),
        )
        wording = Wording(lang)
        for name in _FILTERS:
            self.filters[name] = getattr(wording, name)
        self.filters |= {"cents": cents, "css_string": figures.css_string, "groups": groups}
        self.filters["markdown"] = markdown
        kept = {name: self.globals[name] for name in ("namespace", "range")}
        drawing = {name: getattr(figures, name) for name in ("ticks", "qr", "days", "mondays")}
        self.globals = {**kept, **drawing, "lang": lang}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field before a method of the dictionary: `data.items` is what the caller sent."""
        if not isinstance(obj, Mapping):
            return super().getattr(obj, attribute)
        if attribute in obj:
            return obj[attribute]
        return self.undefined(obj=obj, name=attribute)

    def pieces(self, name: str, values: Mapping[str, Any]) -> Iterator[str]:
        """The rendered template, piece by piece; fractions in the values become exact."""
        return self.get_template(name).generate(
            {key: exact(value) for key, value in values.items()}
        )


def exact(value: Any) -> Any:
    """JSON with fractions as Decimal: 0.1 + 0.2 is 0.3 on an invoice."""
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, Mapping):
        return {key: exact(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [exact(entry) for entry in value]
    return value
