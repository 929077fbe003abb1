"""Photos changed on this machine: a frame or background around them, or a filter over them.

`echo`, the photo as it came, needs no program: the chain answers it before it asks anybody.
"""

from __future__ import annotations

import io
from functools import partial

from makeready import picture_local, pictures_aside
from makeready.ingest import Step
from makeready.photo_schemas import SIDE_MAX
from makeready.picture_work import PictureUnfit, Prepared
from makeready.pictures_aside import filtered_aside, framed_aside, is_long
from makeready_workers.picture_threads import in_thread
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task

LOCAL = "local"
ECHO = "echo"


def is_echo(step: Step) -> bool:
    """Whether the photo is given back as it came, byte by byte, whatever its size."""
    return step.kind == LOCAL and step.operation == ECHO


class Local:
    """Needs no key and no network; what is small is done in a thread, the rest in a helper."""

    async def process(self, task: Task, call: Call) -> Image:
        """The photo in its frame, or filtered; raises ProviderFailed."""
        side = int(call.options.get("max_side", SIDE_MAX))
        try:
            if task.operation == "frame":
                made = await _framed(task, side)
            elif task.operation == "filter":
                made = await _filtered(task, side)
            else:
                text = f"there is no operation {task.operation} here"
                raise ProviderFailed("rejected", text)
        except PictureUnfit as error:
            raise ProviderFailed("rejected", f"the picture is unfit: {error}") from error
        return Image(content=made.content, media_type=made.media_type)

    async def cancel(self, call: Call) -> None:
        """Nothing is left behind."""

    async def ping(self, call: Call) -> None:
        """It is here."""


async def _framed(task: Task, side: int) -> Prepared:
    template = task.templates.get("frame")
    if template is None:
        raise ProviderFailed("rejected", "the slot has no template media named frame")
    contents = task.photo.content, template.content
    if _is_long(task, *contents):
        return await framed_aside(*contents, task.settings, side)
    return await in_thread(partial(picture_local.framed, *contents, task.settings, side))


async def _filtered(task: Task, side: int) -> Prepared:
    content = task.photo.content
    if _is_long(task, content):
        return await filtered_aside(content, task.settings, side)
    return await in_thread(partial(picture_local.filtered, content, task.settings, side))


def _is_long(task: Task, *pictures: bytes) -> bool:
    """By what goes in and what comes out."""
    side = max(task.settings.get(name) or 0 for name in ("width", "height"))
    if side * side > pictures_aside.LONG_PIXELS:
        return True
    return any(is_long(io.BytesIO(each)) for each in pictures)
