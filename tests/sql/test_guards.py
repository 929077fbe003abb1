"""A sample of `python -m tests.mutation`: a guard is taken away, and the tests notice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.mutation.__main__ import judge
from tests.mutation.guard import definition, guards
from tests.sql.conftest import MUTANT

pytestmark = pytest.mark.once
ALL = {f"{guard.function}: {guard.what}": guard for guard in guards()}
SAMPLE = (
    "claim: the gate is locked before running jobs are counted",
    "admit: the limit is read after the gate",
)


def test_every_guard_of_the_list_stands_in_the_code() -> None:
    for guard in ALL.values():
        assert guard.mutant() != definition(guard.function)
        for name in guard.tests:
            assert Path(__file__).with_name(f"test_{name}.py").is_file()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(bool(MUTANT), reason="this run is a mutation itself")
@pytest.mark.parametrize("name", SAMPLE)
async def test_a_missing_guard_is_noticed(name: str, tmp_path: Path) -> None:
    assert await asyncio.to_thread(judge, ALL[name], tmp_path) == "noticed"
