"""How far a document has come: what it still waits for, and the frames in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

# Not scripts: a worker's arrives without a word to the page, and others hold up `readyState`.
_AWAITED = frozenset({"Stylesheet", "Image", "Font"})
FRAMES_AT_MOST = 100  # frames without end hold up the browser itself, and so the neighbours

# Run in every frame after the load event, which no font holds up. Faces are asked to load, not
# waited for: by themselves they load when something is laid out in them, on a page without frames
# as late as the printing, and `document.fonts.ready` is kept before. A face on its way prints no
# letters at all.
SETTLED = """(async () => {
  const broken = [], faces = [...document.fonts];
  await Promise.allSettled(faces.map(face => face.load()));
  for (const face of faces)
    if (face.status !== 'loaded') broken.push('font ' + face.family.slice(0, 200));
  for (const image of document.images)
    if (image.getAttribute('src') && image.complete && !image.naturalWidth)
      broken.push(image.src.slice(0, 1000));
  return broken.slice(0, 100);
})()"""


class Loading:
    """What a page hears of its loading; of the network only a page with scripts hears."""

    def __init__(self) -> None:
        self.loaded = asyncio.Event()
        self.frames: set[str] = set()
        self.frames_ever = 0
        """Of this document, with those that it has taken away again."""
        self.awaited: set[str] = set()
        """Requests whose answer has not reached the document."""
        self.world = 0
        """Where scripts of the page itself run; known when it was asked for."""
        self.is_gone = False
        """Whether the document has left its page. No request tells of the way to about:blank."""

    @property
    def is_crowded(self) -> bool:
        """Whether the document has more frames than it may have."""
        return self.frames_ever > FRAMES_AT_MOST

    def hear(self, name: str, params: Mapping[str, Any]) -> None:
        """Takes note of one event."""
        match name:
            case "Page.loadEventFired":
                self.loaded.set()
            case "Page.frameNavigated" if "parentId" not in params["frame"]:
                self.is_gone = True
            case "Runtime.executionContextCreated":
                self.world = params["context"]["id"]
            case "Page.frameAttached":
                self.frames.add(params["frameId"])
                self.frames_ever += 1
            case "Page.frameDetached" if params.get("reason") != "swap":
                self.frames.discard(params["frameId"])
            case "Network.requestWillBeSent" if params.get("type") in _AWAITED:
                self.awaited.add(params["requestId"])
            case "Network.loadingFinished" | "Network.loadingFailed":
                self.awaited.discard(params["requestId"])
