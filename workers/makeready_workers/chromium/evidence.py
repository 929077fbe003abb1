"""What a page saw of its document: kept, within bounds, for whoever has to find out why it failed.

Scripts write to the console and throw errors. Each such message crosses the link as a whole, so a
document that never stops is first no longer listened to and then, as a tight loop hears nothing,
ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MESSAGES_KEPT = 20  # of each kind
MESSAGE_LENGTH = 300
MESSAGES_HEARD = 100
FLOOD_MESSAGES = 3000
FLOOD_LENGTH = 4 * 1024 * 1024

PAGE_SIZE = {"width": 800, "height": 1130, "deviceScaleFactor": 1, "mobile": False}
"""The window of a screenshot: about one page."""
_QUALITY = 50


class Evidence:
    """The messages of one document, and when it began what."""

    def __init__(self) -> None:
        self.console: list[str] = []
        self.errors: list[str] = []
        self.timings: dict[str, float] = {}
        self.phase = "load"
        self._count = 0
        self._length = 0

    def hear(self, name: str, params: Mapping[str, Any]) -> bool:
        """Notes a message of the console or an error; False when this one is enough."""
        if name == "Runtime.exceptionThrown":
            text = describe_exception(params.get("exceptionDetails", {}))
            _note(self.errors, text)
        else:
            text = " ".join(_text(argument) for argument in params.get("args", ()))
            _note(self.console, f"{params.get('type', 'log')}: {text}")
        self._count += 1
        self._length += len(text)
        return self._count != MESSAGES_HEARD

    @property
    def is_flood(self) -> bool:
        """Whether it goes on and on although nobody wants to hear more."""
        return self._count > FLOOD_MESSAGES or self._length > FLOOD_LENGTH

    def facts(self) -> dict[str, Any]:
        """As it is kept with a failure."""
        found: dict[str, Any] = {"phase": self.phase}
        if self.timings:
            found["timings_ms"] = {name: round(ms, 1) for name, ms in self.timings.items()}
        for name, messages in (("console", self.console), ("errors", self.errors)):
            if messages:
                found[name] = list(messages)
        return found


def describe_exception(details: Mapping[str, Any]) -> str:
    """What a script threw, with where."""
    thrown = details.get("exception", {})
    text = thrown.get("description") or thrown.get("value") or details.get("text", "unknown")
    return str(text)[:MESSAGE_LENGTH]


def screenshot_call(*, still: bool) -> tuple[str, dict[str, Any]]:
    """The command that shows a page; one that draws no frames by itself is told to draw one."""
    picture = {"format": "jpeg", "quality": _QUALITY}
    if still:
        return "HeadlessExperimental.beginFrame", {"screenshot": picture}
    clip = {"x": 0, "y": 0, "width": PAGE_SIZE["width"], "height": PAGE_SIZE["height"], "scale": 1}
    return "Page.captureScreenshot", {**picture, "clip": clip, "captureBeyondViewport": True}


def _note(messages: list[str], text: str) -> None:
    if len(messages) < MESSAGES_KEPT:
        messages.append(text[:MESSAGE_LENGTH])


def _text(argument: Mapping[str, Any]) -> str:
    value = argument.get("value", argument.get("description", argument.get("type", "")))
    return str(value)
