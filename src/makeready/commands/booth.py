"""A photo booth as its service sees it: posts a photo and waits for the picture to print.

The form is what DSLR Remote Pro 3.30.2 sends ("Web based (HTTP POST)"): the same fields in the
same order, the password last of them, `Expect: 100-continue` before the body.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from makeready.commands.service import Client

ANSWER_TIMEOUT_S = 75.0  # more than a booth may be kept waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class BoothAnswer:
    """What came back, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def timing(self) -> dict[str, float]:
        """Milliseconds by part, of `Server-Timing`."""
        found = {}
        for entry in self.headers.get("Server-Timing", "").split(","):
            name, _, rest = entry.strip().partition(";dur=")
            if rest:
                found[name] = float(rest)
        return found


async def post_photo(
    client: Client,
    slot: str,
    password: str | None,
    photo: bytes | None,
    *,
    name: str = "IMG_0003.JPG",
    media_type: str = "image/jpeg",
) -> BoothAnswer:
    """Posts a photo as a booth does; leaves the password or the photo out when there is none."""
    form = aiohttp.FormData()
    for field, value in fields(photo or b"").items():
        form.add_field(field, value)
    if password is not None:
        form.add_field("password", password)
    if photo is not None:
        form.add_field("fileToUpload", photo, filename=name, content_type=media_type)
    began = time.perf_counter()
    async with client.session.post(
        f"{client.base_url}/ingest/{slot}",
        data=form,
        expect100=True,
        timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S),
    ) as answer:
        body = await answer.read()
        headers: dict[str, Any] = {key.title(): value for key, value in answer.headers.items()}
    seconds = time.perf_counter() - began
    return BoothAnswer(status=answer.status, headers=headers, body=body, seconds=seconds)


def fields(photo: bytes) -> dict[str, str]:
    """The text fields before the password, in the order of the captured request."""
    folder = r"C:\Users\booth\Documents\DSLR Remote Pro"
    return {
        "time": "1764756000",
        "user_id": "0",
        "id": "CY04N068111304S2L_00000001.",
        "profile": rf"{folder}\profile.xml",
        "status": rf"{folder}\status.txt",
        "hash": hashlib.sha1(photo, usedforsecurity=False).hexdigest(),
        "name": "DSLR Remote Pro",
        "model": "Canon EOS 2000D",
        "version": "3.30.2",
    }
