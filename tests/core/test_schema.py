from __future__ import annotations

from pathlib import Path

import pytest

from makeready.schema import SchemaError, migrate


@pytest.mark.parametrize(
    ("head", "said"),
    [("", "nothing of it was kept"), ("-- transaction: none\n", "look at what it has left")],
)
async def test_only_what_failed_in_a_transaction_has_left_nothing(
    dsn: str, tmp_path: Path, head: str, said: str
) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "9001_bad.sql").write_text(f"{head}select 1/0", encoding="utf-8")

    with pytest.raises(SchemaError, match=f"9001_bad.sql failed: .*22012.*{said}"):
        await migrate(dsn, [tmp_path])
