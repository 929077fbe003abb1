"""Passwords of staff: argon2id with the parameters of the documentation (ING-079)."""

from __future__ import annotations

import time

import pytest
from argon2 import PasswordHasher

from makeready import passwords
from makeready.errors import Rejected

PASSWORD = "correct horse"


def test_ing_079_a_hash_has_the_documented_parameters_and_a_salt_of_its_own() -> None:
    first, second = passwords.hashed(PASSWORD), passwords.hashed(PASSWORD)

    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert passwords.is_right(PASSWORD, first)
    assert passwords.is_right(PASSWORD, second)


def test_what_is_wrong_is_wrong() -> None:
    digest = passwords.hashed(PASSWORD)

    assert not passwords.is_right("correct horsf", digest)
    assert not passwords.is_right("", digest)
    assert not passwords.is_right(PASSWORD, None)
    assert not passwords.is_right(PASSWORD, "$argon2id$not a hash")


@pytest.mark.parametrize("wrong", ["", "elevenchars", "x" * 129])
def test_a_new_password_has_12_to_128_characters(wrong: str) -> None:
    with pytest.raises(Rejected) as raised:
        passwords.hashed(wrong)
    assert wrong not in str(raised.value) or not wrong


def test_a_hash_of_other_parameters_is_outdated() -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)

    assert passwords.is_right(PASSWORD, old)
    assert passwords.is_outdated(old)
    assert not passwords.is_outdated(passwords.rehashed(PASSWORD))


def test_an_unknown_account_costs_the_same_time() -> None:
    digest = passwords.hashed(PASSWORD)
    passwords.is_right(PASSWORD, None)  # makes the hash of nobody

    def cost(compared: str | None) -> float:
        started = time.thread_time()  # what others do on this machine is not counted
        passwords.is_right("another password", compared)
        return time.thread_time() - started

    pairs = [(cost(digest), cost(None)) for _ in range(7)]
    known, unknown = (min(costs) for costs in zip(*pairs, strict=True))
    assert 0.5 < unknown / known < 2


def test_generated_passwords_differ_and_may_be_used() -> None:
    first, second = passwords.generated(), passwords.generated()

    assert first != second
    assert passwords.is_right(first, passwords.hashed(first))
