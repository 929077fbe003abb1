"""What `doctor` says about document types."""

from __future__ import annotations

from makeready.commands.checks import Finding, good, judged
from makeready.commands.migrate import connected
from makeready.config import Settings
from makeready.documents import register

WHAT = "document types"
MEND = "see that `makeready migrate` has run"
WAITING_MEND = "publish or roll back to the shipped version, or leave it as it is"


async def check_types(settings: Settings) -> list[Finding]:
    """Whether the release ships versions that wait behind what staff have published."""
    async with connected(settings.database_url) as connection:
        rows = await register.documents(connection)
    waiting = [
        row.doc_id for row in rows if row.shipped_version not in {"", row.version} and row.version
    ]
    if settings.config_source == "file":
        return [good(WHAT, "only what is shipped (CONFIG_SOURCE=file)")]
    found = f"staff's own versions in force: {', '.join(waiting)}"
    in_force = sum(bool(row.version) for row in rows)
    return [
        judged(WHAT, found, well=False, verdict="warn", mend=WAITING_MEND)
        if waiting
        else good(WHAT, f"{in_force} in force")
    ]
