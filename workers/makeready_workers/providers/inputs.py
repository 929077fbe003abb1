"""What models of other makers are given: their inputs by name, with the photo among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from makeready_workers.providers.base import Call, Task
from makeready_workers.providers.bodies import Inline, data_uri


async def inputs(task: Task, call: Call, photo_field: str) -> dict[str, Any]:
    """The slot's inputs, its prompt, and the photo in the field that takes it.

    A text that is "{template.key}" stands for template media.
    """
    settings = task.settings
    photo: Any = (
        await call.public_url() if settings.get("sends") == "link" else data_uri(task.photo)
    )
    found: dict[str, Any] = filled(settings.get("input", {}), lambda text: _template(task, text))
    if "prompt" in settings:
        found["prompt"] = settings["prompt"]
    name = str(settings.get("photo_field", photo_field))
    if settings.get("is_list"):
        more = found.get(name)
        found[name] = [photo, *(more if isinstance(more, list) else ())]
    else:
        found[name] = photo
    return found


def filled(value: Any, fill: Callable[[str], Any]) -> Any:
    """A JSON value with each of its texts as `fill` gives it."""
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, list):
        return [filled(each, fill) for each in value]
    if isinstance(value, Mapping):
        return {name: filled(each, fill) for name, each in value.items()}
    return value


def _template(task: Task, text: str) -> str | Inline:
    if text.startswith("{template.") and text.endswith("}"):
        image = task.templates.get(text[len("{template.") : -1])
        return text if image is None else data_uri(image)
    return text
