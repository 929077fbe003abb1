"""What the helper processes of `makeready.pictures_aside` run: one question, one answer."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

from makeready.aside import packed, serve, unpacked
from makeready.picture_local import filtered, framed
from makeready.picture_work import PictureUnfit, Prepared, prepare, thumbnail


def main() -> None:
    """Answers until nobody asks any more."""
    serve(_answer)


def _answer(question: bytes) -> bytes:
    head, files = unpacked(question)
    try:
        made = _WORK[head.pop("do")](files, **head)
    except PictureUnfit as error:
        return packed({"unfit": str(error)})
    except Exception as error:  # noqa: BLE001 -- what a library stumbles over may be anything
        return packed({"unfit": f"it cannot be worked with: {type(error).__name__}"})
    if isinstance(made, bytes):
        return packed({}, [made])
    facts = {"media_type": made.media_type, "width": made.width, "height": made.height}
    return packed(facts, [made.content])


_WORK: Mapping[str, Callable[..., Prepared | bytes]] = {
    "framed": lambda files, **asked: framed(files[0], files[1], **asked),
    "filtered": lambda files, **asked: filtered(files[0], **asked),
    "prepare": lambda files, **asked: prepare(io.BytesIO(files[0]), **asked),
    "thumbnail": lambda files: thumbnail(io.BytesIO(files[0])),
}
