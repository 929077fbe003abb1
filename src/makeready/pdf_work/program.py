"""What the helper process of `makeready.pdf` runs: one question, one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from makeready.aside import packed, serve, unpacked
from makeready.pdf_work.facts import InvalidPdf, Unfinishable, unfinishable, verify

Answer = tuple[Mapping[str, Any], Sequence[bytes]]


def main() -> None:
    """Answers until nobody asks any more."""
    serve(_answer)


def _answer(question: bytes) -> bytes:
    head, files = unpacked(question)
    try:
        return packed(*_WORK[head.pop("do")](files, **head))
    except (InvalidPdf, Unfinishable) as error:
        return packed({"code": error.code, "problems": error.details["problems"]})
    except Exception as error:  # noqa: BLE001 -- whatever a broken file makes a library raise
        problem = f"it cannot be read: {type(error).__name__}: {error}"
        return packed({"code": InvalidPdf.code, "problems": [problem]})


def _verify(files: Sequence[bytes], **asked: Any) -> Answer:
    return {"facts": asdict(verify(files[0], **asked))}, []


# What few documents need is imported when one does: the helper starts in half the time.


def _merge(
    files: Sequence[bytes], *, titles: Sequence[str], title: str, size_limit: int
) -> Answer:
    from makeready.pdf_work.merge import merge  # noqa: PLC0415

    whole = merge(list(zip(titles, files, strict=True)), title=title)
    verify(whole, size_limit=size_limit, needs_text=False)  # each part was checked
    return {}, [whole]


def _finish(
    files: Sequence[bytes],
    *,
    pdf_a: str | None,
    watermark: str,
    metadata: Mapping[str, Any],
    **bounds: Any,
) -> Answer:
    from makeready.pdf_work.finish import finish  # noqa: PLC0415

    printed = verify(files[0], **bounds) if watermark else None
    finished = finish(files[0], metadata=metadata, watermark=watermark, pdf_a=pdf_a)
    facts = verify(finished, **bounds)
    if pdf_a is not None and facts.lost_chars:
        text = f"{facts.lost_chars} characters without a letter in their font"
        raise unfinishable([f"no PDF/A-{pdf_a}: {text}"])
    if printed is not None:  # a watermark is no text
        kept = {name: getattr(printed, name) for name in ("text_chars", "lost_chars", "letters")}
        facts = replace(facts, **kept)
    return {"facts": asdict(facts)}, [finished]


def _thumbnail(files: Sequence[bytes], *, px: int) -> Answer:
    from makeready.pdf_work.thumbs import thumbnail  # noqa: PLC0415

    return {}, [thumbnail(files[0], px=px)]


_WORK: Mapping[str, Callable[..., Answer]] = {
    "verify": _verify,
    "finish": _finish,
    "merge": _merge,
    "thumbnail": _thumbnail,
}
