"""How one-time codes get to a telephone: a protocol, and a mock that sends nothing.

The mock is for development: it keeps what it would have sent where `/debug/otp/latest` finds it,
which lets anybody in as anybody. So it works with DEBUG only; without, nobody signs in by code.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from makeready.config import Settings

KEPT = 1000
NO_KEY = "MAKEREADY_JWT_SECRET is not set: codes cannot be kept safely without it"
NO_DEBUG = (
    "MAKEREADY_SMS_PROVIDER is mock, which sends nothing and shows codes to everybody: it works "
    "with DEBUG only"
)


class CodeSender(Protocol):
    """Sends a code to a number, or raises."""

    @property
    def name(self) -> str:
        """What the settings call it."""

    async def send(self, phone: str, code: str) -> None:
        """Returns once the provider has taken the message."""


class MockSender:
    """Remembers the latest code of each number, in this process."""

    name = "mock"

    def __init__(self) -> None:
        self._codes: OrderedDict[str, str] = OrderedDict()

    async def send(self, phone: str, code: str) -> None:
        """Keeps it."""
        self._codes.pop(phone, None)
        self._codes[phone] = code
        while len(self._codes) > KEPT:
            self._codes.popitem(last=False)

    def latest(self, phone: str) -> str | None:
        """The last code for a number."""
        return self._codes.get(phone)


def complaint(settings: Settings) -> str:
    """Why no code can be sent with these settings; empty when one can."""
    if settings.jwt_secret is None:
        return NO_KEY
    return "" if settings.debug else NO_DEBUG


def code_sender(settings: Settings) -> CodeSender | None:
    """The sender for these settings; None while there is a complaint."""
    return None if complaint(settings) else MockSender()
