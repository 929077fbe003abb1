"""What a page saw of its document: kept, within bounds, for whoever has to find out why it failed.

Scripts write to the console and throw errors. Chromium would hand over all of it, and a document
that never stops would stall its neighbours with its words. So the page counts and cuts them before
they leave it, by a function that scripts of the document never get hold of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MESSAGES_KEPT = 20  # of each kind
MESSAGE_LENGTH = 300
BINDING = "makeready_tell"

# Run before the document is put into the page. Opening it takes listeners away, so those for
# errors are added when its first element comes, which is before its first script.
_TELL = """((name, most, length) => {
  'use strict';
  const tell = window[name], text = String;
  const cut = Function.prototype.call.bind(String.prototype.slice);
  delete window[name];
  const left = {console: most, errors: most};
  const say = (list, kind, parts) => {
    if (left[list] <= 0) return;
    left[list]--;
    let all = kind;
    for (let i = 0; i < parts.length && all.length < length; i++)
      try { all += ' ' + cut(text(parts[i]), 0, length); } catch { all += ' ?'; }
    tell(list + ' ' + cut(all, 0, length));
  };
  for (const kind of ['debug', 'log', 'info', 'warn', 'error', 'trace'])
    console[kind] = (...parts) => say('console', kind + ':', parts);
  const why = thrown => thrown && thrown.stack || thrown;
  new MutationObserver((_, watcher) => {
    watcher.disconnect();
    addEventListener('error', event =>
      say('errors', 'thrown:', [why(event.error) || event.message]));
    addEventListener('unhandledrejection', event =>
      say('errors', 'rejected:', [why(event.reason)]));
  }).observe(document, {childList: true});
})"""
TELL = f"{_TELL}({BINDING!r}, {MESSAGES_KEPT}, {MESSAGE_LENGTH})"

PAGE_SIZE = {"width": 800, "height": 1130, "deviceScaleFactor": 1, "mobile": False}
"""The window of a screenshot: about one page."""
_QUALITY = 50


class Evidence:
    """The messages of one document, and when it began what."""

    def __init__(self) -> None:
        self.messages: dict[str, list[str]] = {"console": [], "errors": []}
        self.timings: dict[str, float] = {}
        self.phase = "load"

    def hear(self, told: str) -> None:
        """Notes a message of the console, or an error."""
        kind, _, text = told.partition(" ")
        messages = self.messages.get(kind, [])
        if len(messages) < MESSAGES_KEPT:
            messages.append(text[:MESSAGE_LENGTH])

    def facts(self) -> dict[str, Any]:
        """As it is kept with a failure."""
        timings = {name: round(ms, 1) for name, ms in self.timings.items()}
        found = {"phase": self.phase, "timings_ms": timings, **self.messages}
        return {name: value for name, value in found.items() if value}


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
