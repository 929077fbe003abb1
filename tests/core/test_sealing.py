"""Sealing: what is kept of a provider's key opens with the right master key, for its own row."""

from __future__ import annotations

import base64
import os
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makeready.sealing import NONCE_BYTES, Sealer, SealingError, about_key
from makeready.values import Secret

OLD, NEW = os.urandom(32), os.urandom(32)
ABOUT = about_key("gemini", uuid4())


def sealer(*keys: bytes) -> Sealer:
    return Sealer.of(Secret(", ".join(key.hex() for key in keys)))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens(text: str) -> None:
    nonce, sealed = sealer(NEW).seal(text, ABOUT)

    assert len(nonce) == NONCE_BYTES
    assert sealer(NEW).open(nonce, sealed, ABOUT).reveal() == text
    assert len(text) < 4 or text.encode() not in sealed


def test_equal_texts_are_sealed_differently() -> None:
    first, second = (sealer(NEW).seal("sk-1", ABOUT) for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_it_opens_for_its_own_row_alone() -> None:
    nonce, sealed = sealer(NEW).seal("sk-1", ABOUT)
    for other in (about_key("turbotext", uuid4()), about_key("gemini", uuid4()), b""):
        with pytest.raises(SealingError):
            sealer(NEW).open(nonce, sealed, other)


def test_the_first_master_key_seals_and_all_open() -> None:
    nonce, sealed = sealer(OLD).seal("sk-1", ABOUT)

    assert sealer(NEW, OLD).open(nonce, sealed, ABOUT).reveal() == "sk-1"
    with pytest.raises(SealingError, match="another MAKEREADY_SECRETS_KEY"):
        sealer(NEW).open(nonce, sealed, ABOUT)
    with pytest.raises(SealingError):
        sealer(OLD).open(*sealer(NEW, OLD).seal("sk-2", ABOUT), ABOUT)


@pytest.mark.parametrize("place", ["nonce", "start", "end", "short", "empty"])
def test_a_changed_byte_opens_nothing(place: str) -> None:
    nonce, sealed = sealer(NEW).seal("sk-1", ABOUT)
    forged = {
        "nonce": (nonce[::-1], sealed),
        "start": (nonce, bytes([sealed[0] ^ 1]) + sealed[1:]),
        "end": (nonce, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        "short": (nonce, sealed[:3]),
        "empty": (b"", b""),
    }[place]
    with pytest.raises(SealingError):
        sealer(NEW).open(*forged, ABOUT)


def test_without_a_master_key_it_says_which_setting_is_missing() -> None:
    assert not Sealer.of(None).is_able
    for call in (
        lambda: Sealer.of(None).seal("sk-1", ABOUT),
        lambda: Sealer.of(None).open(b"", b"", ABOUT),
    ):
        with pytest.raises(SealingError, match="MAKEREADY_SECRETS_KEY"):
            call()


def test_nothing_of_it_shows_a_secret() -> None:
    able = sealer(NEW)
    nonce, sealed = able.seal("sk-hidden", ABOUT)
    with pytest.raises(SealingError) as refused:
        sealer(OLD).open(nonce, sealed, ABOUT)
    shown = f"{able!r} {refused.value} {able.open(nonce, sealed, ABOUT)!r}"
    assert "sk-hidden" not in shown
    assert NEW.hex() not in shown


def test_master_keys_are_hex_or_base64() -> None:
    nonce, sealed = sealer(NEW).seal("sk-1", ABOUT)
    written = Secret(base64.b64encode(NEW).decode())
    assert Sealer.of(written).open(nonce, sealed, ABOUT).reveal() == "sk-1"
