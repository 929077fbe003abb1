"""Tokens of staff: what is signed is read, and nothing else (ING-062, ING-064)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest

from makeready import staff_tokens
from makeready.values import Secret, signing_secret

KEY = Secret("k" * 32)
ACCOUNT = uuid4()


def issued(**changes: Any) -> str:
    """A token of an account."""
    facts: dict[str, Any] = {
        "account": ACCOUNT,
        "version": 3,
        "name": "anna",
        "role": "viewer",
        "permissions": ["render:read"],
        "valid_for": timedelta(minutes=5),
    }
    return staff_tokens.issue(KEY, **(facts | changes)).reveal()


def claims(**changes: Any) -> dict[str, Any]:
    """What a token says, with changes; None takes a claim away."""
    found = jwt.decode(issued(), options={"verify_signature": False}) | changes
    return {name: value for name, value in found.items() if value is not None}


def signed(said: Mapping[str, Any], key: str = KEY.reveal(), algorithm: str = "HS256") -> str:
    """A token that says this."""
    return jwt.encode(dict(said), key, algorithm=algorithm)


def test_a_token_says_who_may_what_until_when() -> None:
    text = issued()
    found = staff_tokens.read(KEY, text)

    assert found is not None
    assert (found.account, found.version) == (ACCOUNT, 3)
    left = found.expires_at - datetime.now(tz=UTC)
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)
    said = jwt.decode(text, options={"verify_signature": False})
    assert {"sub", "role", "permissions", "iat", "exp", "jti"} <= said.keys()
    assert said["permissions"] == ["render:read"]
    assert jwt.get_unverified_header(text)["alg"] == "HS256"
    assert issued() != text


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "role", "jti", "ver"])
def test_every_claim_is_needed(name: str) -> None:
    assert staff_tokens.read(KEY, signed(claims())) is not None
    assert staff_tokens.read(KEY, signed(claims(**{name: None}))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"ver": "1"},
        {"ver": True},
        {"ver": 2**40},
        {"sub": "anna"},
        {"jti": "x"},
        {"exp": 10**30},
        {"exp": "soon"},
        {"iat": 4_000_000_000},
    ],
)
def test_a_claim_of_another_kind_is_no_claim(changes: dict[str, Any]) -> None:
    assert staff_tokens.read(KEY, signed(claims(**changes))) is None


def test_a_token_ends_with_its_time() -> None:
    now = int(datetime.now(tz=UTC).timestamp())

    assert staff_tokens.read(KEY, signed(claims(exp=now - 11))) is None
    assert staff_tokens.read(KEY, signed(claims(exp=now - 3))) is not None  # clocks differ


def test_forged_tokens_are_none() -> None:
    head, body, signature = issued().split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    richer = base64.urlsafe_b64encode(json.dumps(said | {"role": "admin"}).encode()).rstrip(b"=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()

    for forged in (
        f"{head}.{richer.decode()}.{signature}",
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        signed(claims(), key="z" * 32),
        signed(claims(), key="k" * 64, algorithm="HS512"),
        "",
        ".",
        "..",
        "\x00",
        "x" * 5000,
    ):
        assert staff_tokens.read(KEY, forged) is None


@pytest.mark.parametrize(
    "wrong",
    ["short", "k" * 31, "change-me-change-me-change-me-change-me", "CHANGEME" * 8],
)
def test_a_secret_is_long_and_no_example(wrong: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -hex 32") as raised:
        signing_secret(wrong)
    assert wrong not in str(raised.value)
    assert signing_secret("k" * 32) == KEY
