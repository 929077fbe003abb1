"""Keys of providers as the database keeps them: AES-256-GCM under a key that only processes have.

Each text is sealed for one place (`about`) and opens nowhere else: a row that was copied to
another provider is as good as a forged one. Of several master keys the first seals and all open,
so that keys can be sealed anew under another one before the old one is taken away.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from makeready.values import Secret, key_bytes

NONCE_BYTES = 12


class SealingError(Exception):
    """There is no master key, or none that opens what is there; the text names no secret."""


def about_key(provider: str, key: UUID) -> bytes:
    """What a provider's key is sealed for."""
    return f"provider:{provider}:{key}".encode()


class Sealer:
    """The master keys of a process."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = tuple(AESGCM(key) for key in keys)

    @classmethod
    def of(cls, secrets_key: Secret | None) -> Sealer:
        """The keys of the setting; without it everything here raises SealingError."""
        words = () if secrets_key is None else secrets_key.reveal().split(",")
        return cls([key_bytes(word) for word in words])

    @property
    def is_able(self) -> bool:
        """Whether there is a master key."""
        return bool(self._ciphers)

    def seal(self, text: str, about: bytes) -> tuple[bytes, bytes]:
        """A new nonce, and the text under the first master key."""
        if not self._ciphers:
            raise SealingError("no master key: set MAKEREADY_SECRETS_KEY")
        nonce = os.urandom(NONCE_BYTES)
        return nonce, self._ciphers[0].encrypt(nonce, text.encode(), about)

    def renewed(self, nonce: bytes, sealed: bytes, about: bytes) -> tuple[bytes, bytes] | None:
        """The same text under the first master key; None: it is, or none of them opens it."""
        try:
            text = self.open(nonce, sealed, about)
        except SealingError:
            return None
        try:
            self._ciphers[0].decrypt(nonce, sealed, about)
        except InvalidTag:
            return self.seal(text.reveal(), about)
        return None

    def open(self, nonce: bytes, sealed: bytes, about: bytes) -> Secret:
        """The text that was sealed for the same place."""
        if not self._ciphers:
            raise SealingError("no master key: set MAKEREADY_SECRETS_KEY")
        for cipher in self._ciphers:
            try:
                return Secret(cipher.decrypt(nonce, sealed, about).decode())
            except (InvalidTag, ValueError):  # of another master key, changed, or no nonce
                continue
        raise SealingError("sealed under another MAKEREADY_SECRETS_KEY, or changed since")
