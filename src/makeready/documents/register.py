"""The registry as the database has it: what is in force, and what staff have laid over it.

Whether a document is free or paid only informs: nothing is refused by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from makeready.config import Settings
from makeready.db import Executor
from makeready.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What users are told about a document."""

    tier: str
    is_enabled: bool
    is_visible: bool

    @property
    def reason(self) -> str | None:
        """Why it is locked; None when it is not."""
        if not self.is_enabled:
            return "disabled"
        return None if self.is_visible else self.tier


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """One entry of the registry; what ends in `by_staff` is None where staff said nothing."""

    doc_id: str
    title_ru: str
    title_en: str
    description_ru: str
    description_en: str
    tier: str
    is_enabled: bool
    title_by_staff: str | None
    description_by_staff: str | None
    enabled_by_staff: bool | None
    tier_by_staff: str | None
    may_render: bool
    version: str
    """Hash of what is in force; empty: nothing is."""
    shipped_version: str
    is_shipped: bool
    number_in_force: int | None
    drafts: int

    def title(self, lang: str) -> str:
        """What users see."""
        return self.title_by_staff or (self.title_ru if lang == "ru" else self.title_en)

    def description(self, lang: str) -> str:
        """What users see."""
        if self.description_by_staff is not None:
            return self.description_by_staff
        return self.description_ru if lang == "ru" else self.description_en

    def access(self, settings: Settings) -> Access:
        """What is in effect."""
        tier = self.tier_by_staff or self.tier
        return access_of(tier, is_enabled=self.may_render, settings=settings)


def access_of(tier: str, *, is_enabled: bool, settings: Settings) -> Access:
    """What is in effect for a document of this tier, as the settings have it."""
    tier = "free" if settings.docs_force_all_free else tier
    is_visible = tier == "free" or settings.paid_docs_visible
    return Access(tier=tier, is_enabled=is_enabled, is_visible=is_visible)


async def documents(db: Executor) -> list[DocumentRow]:
    """All of them, by id."""
    rows = await db.fetch("select * from makeready.document_list()")
    return [DocumentRow(**row) for row in rows]


async def document(db: Executor, doc_id: str) -> DocumentRow:
    """One of them; raises NotFound."""
    row = await db.fetchrow("select * from makeready.document_list($1)", doc_id)
    if row is None:
        raise NotFound(
            f"there is no document {doc_id}",
            details={"code": "document_not_found", "doc_id": doc_id},
        )
    return DocumentRow(**row)


async def overlay_set(
    db: Executor, doc_id: str, changes: Mapping[str, Any], *, note: str | None = None
) -> None:
    """Lays title, description, enabled, tier over what the version says; Rejected, NotFound."""
    await db.execute(
        "select makeready.document_overlay_set($1, $2::text::jsonb, $3)",
        doc_id,
        json.dumps(changes),
        note,
    )
