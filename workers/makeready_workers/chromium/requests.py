"""What a document asks for: answered from its assets or refused, and remembered for the report."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from makeready.documents.typesetting import ASSET_ORIGIN, Asset

MAX_REMEMBERED = 20  # addresses of each kind
_ADDRESS_LENGTH = 200
_OPAQUE = frozenset({"data", "blob", "javascript"})
# A reader would notice their absence.
_VISIBLE = frozenset({"Image", "Font", "Stylesheet", "Media"})


class Requests:
    """The requests of one document."""

    def __init__(self, assets: Mapping[str, Asset], frame: str = "") -> None:
        """`frame` is that of the document itself: it never leaves its page."""
        self.missing: list[str] = []
        """What a reader of the page would miss."""
        self.blocked: list[str] = []
        """What was refused without harm to the page: navigations, prefetches, pings."""
        self.is_printing = False
        """Pictures that are asked for now are waited for by Chromium, fonts are not."""
        self._assets = assets
        self._frame = frame

    def answer(self, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The command that answers one `Fetch.requestPaused`.

        Frames show assets; the document itself is never replaced by one.
        """
        request, kind = params["requestId"], params.get("resourceType", "Other")
        address = str(params["request"]["url"])
        is_leaving = kind == "Document" and params.get("frameId", self._frame) == self._frame
        if address.startswith(ASSET_ORIGIN) and not is_leaving:
            name = unquote(address.removeprefix(ASSET_ORIGIN).partition("?")[0])
            asset = self._assets.get(name)
            if asset is not None:
                if kind == "Font" and self.is_printing:
                    self.note(self.missing, f"{address} in time: declare it outside of @media")
                return "Fetch.fulfillRequest", _fulfilment(request, asset)
        self.note(self.missing if kind in _VISIBLE else self.blocked, address)
        # Aborted leaves the document as it is; another reason would show an error page instead.
        reason = "Aborted" if kind == "Document" else "BlockedByClient"
        return "Fetch.failRequest", {"requestId": request, "errorReason": reason}

    def note(self, addresses: list[str], address: str) -> None:
        """Remembers an address once, shortened."""
        shown = _shown(address)
        if shown not in addresses and len(addresses) < MAX_REMEMBERED:
            addresses.append(shown)

    def facts(self) -> dict[str, Any]:
        """As it is kept with a failure."""
        both = {"missing": self.missing, "blocked": self.blocked}
        return {name: list(addresses) for name, addresses in both.items() if addresses}

    def warnings(self) -> tuple[str, ...]:
        """All that was missing or blocked, for people."""
        return (
            *(f"missing: {address}" for address in self.missing),
            *(f"blocked: {address}" for address in self.blocked),
        )


def _shown(address: str) -> str:
    """An address for people: no data in it, no user, and no query, which may hold a signature."""
    scheme, _, rest = address.partition(":")
    if scheme.lower() in _OPAQUE:
        return f"{scheme}:{rest.partition(',')[0].partition(';')[0][:_ADDRESS_LENGTH]},…"
    start, query, _ = address.partition("?")
    before, slashes, after = start.partition("//")
    host, slash, path = after.partition("/")
    place = host.rpartition("@")[2]
    return f"{before}{slashes}{place}{slash}{path}"[:_ADDRESS_LENGTH] + ("?…" if query else "")


def _fulfilment(request: str, asset: Asset) -> dict[str, Any]:
    headers = {
        "Content-Type": asset.media_type,
        "Access-Control-Allow-Origin": "*",  # fonts are fetched across origins: ours is opaque
        "Cache-Control": "no-store",  # the next document may bring another asset of this name
        "X-Content-Type-Options": "nosniff",
    }
    return {
        "requestId": request,
        "responseCode": 200,
        "responseHeaders": [{"name": name, "value": text} for name, text in headers.items()],
        "body": base64.b64encode(asset.content).decode("ascii"),
    }
