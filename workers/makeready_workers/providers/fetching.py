"""Fetches a result from a link that another side has given: a link is not to be trusted.

It has to lead to a host that its provider's options know, over https, to a public address as it is
at the moment of connecting; so has every redirect. The key is never sent there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from makeready.addresses import check_url
from makeready_workers.providers.answers import broken, image_of
from makeready_workers.providers.base import IMAGE_MAX_BYTES, Call, Image, ProviderFailed
from makeready_workers.providers.wire import Answer, exchange

REDIRECTS = 3
TRIES = 3  # a file may be told of before it can be had
PAUSE_S = 1.0


async def fetched(call: Call, link: str, hosts: Sequence[str]) -> Image:
    """The image behind a link; `hosts` hold unless the options name others."""
    allowed = [host.lower() for host in call.options.get("download_hosts", hosts)]
    pause_s = min(PAUSE_S, float(call.options.get("poll_interval_s", PAUSE_S)))
    for left in reversed(range(TRIES)):
        try:
            answer = await _followed(call, link, allowed)
            if answer.status == 200:
                return image_of(bytes(answer.body))
            failed = _failure(answer)
        except ProviderFailed as error:
            failed = error
        if not left or not failed.may_retry or call.seconds_left <= pause_s:
            raise failed from None
        await asyncio.sleep(pause_s)
    raise AssertionError  # the last try has returned or raised


async def _followed(call: Call, link: str, allowed: Sequence[str]) -> Answer:
    for _ in range(REDIRECTS + 1):
        _check(call, link, allowed)
        answer = await exchange(call, "GET", link, most=IMAGE_MAX_BYTES)
        if answer.status not in (301, 302, 303, 307, 308):
            return answer
        try:
            link = urljoin(link, answer.headers.get("location", ""))
        except ValueError:
            raise broken("the link to its result leads nowhere") from None
    raise broken("the link to its result leads on and on")


def _check(call: Call, link: str, allowed: Sequence[str]) -> None:
    try:
        check_url(link, private=bool(call.options.get("allows_private")))
    except ValueError as error:
        raise broken(f"the link to its result {error}") from None
    host = (urlsplit(link).hostname or "").lower()
    if not any(
        host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in allowed
    ):
        raise broken("the link to its result names a host that is not in download_hosts")


def _failure(answer: Answer) -> ProviderFailed:
    may_retry = answer.status in (403, 404, 408, 410, 425, 429) or answer.status >= 500
    text = f"its result could not be fetched: {answer.status}"
    return ProviderFailed("upstream", text, may_retry=may_retry)
