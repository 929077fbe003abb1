"""Photos changed on this machine: a frame or background around them, or a filter over them.

`echo`, the photo as it came, needs no program: the chain answers it before it asks anybody.
"""

from __future__ import annotations

import functools

from makeready import picture_local
from makeready.photo_schemas import SIDE_MAX
from makeready.picture_work import PictureUnfit
from makeready_workers.picture_threads import in_thread
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task


class Local:
    """Works in threads, a few at a time; needs no key and no network."""

    async def process(self, task: Task, call: Call) -> Image:
        """The photo in its frame, or filtered; raises ProviderFailed."""
        side = int(call.options.get("max_side", SIDE_MAX))
        if task.operation == "frame":
            template = task.templates.get("frame")
            if template is None:
                raise ProviderFailed("rejected", "the slot has no template media named frame")
            work = functools.partial(
                picture_local.framed, task.photo.content, template.content, task.settings, side
            )
        elif task.operation == "filter":
            work = functools.partial(
                picture_local.filtered, task.photo.content, task.settings, side
            )
        else:
            raise ProviderFailed("rejected", f"there is no operation {task.operation} here")
        try:
            made = await in_thread(work)
        except PictureUnfit as error:
            raise ProviderFailed("rejected", f"the picture is unfit: {error}") from error
        return Image(content=made.content, media_type=made.media_type)

    async def cancel(self, call: Call) -> None:
        """Nothing is left behind."""

    async def ping(self, call: Call) -> None:
        """It is here."""
