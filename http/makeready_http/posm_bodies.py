"""What routes of table cards take, and how generations look in answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from makeready.posm import STATES, CardFacts, Generation
from makeready_http.operations import (
    ANYTHING,
    ID,
    PAGE,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    array,
    nullable,
    record,
)

TABLES_MOST = 5000

BARE: Schema = {
    "type": ["string", "object"],
    "format": "uuid",
    "required": ["uuid"],
    "additionalProperties": False,
    "properties": {
        "uuid": ID,
        "number": {"type": ["string", "null"], "maxLength": 200},
        "label": {"type": ["string", "null"], "maxLength": 200, "description": "As `number`."},
        "name": {"type": ["string", "null"], "maxLength": 200},
        "section": {"type": ["string", "null"], "maxLength": 200},
        "seats": {"type": ["integer", "null"], "minimum": 0, "maximum": 1000},
        "url": {"type": ["string", "null"], "maxLength": 2000},
        "row": {**ANYTHING, "description": "What `{row.…}` reads."},
    },
    "description": "A uuid, or more about it.",
}
SETTINGS: Schema = {
    **ANYTHING,
    "description": "Instead of the template's: docs/table-cards.md. The template keeps its own.",
}
WHICH_TABLES: Mapping[str, Schema] = {
    "restaurant_id": {**nullable(ID), "description": "Its tables; left out: `uuids` says which."},
    "table_ids": {**array(ID, minItems=1, maxItems=TABLES_MOST), "description": "Only these."},
    "since_version": {
        **WHOLE,
        "minimum": 1,
        "maximum": 2**31 - 1,
        "description": "Only tables that no card was made for up to this version.",
    },
    "uuids": {
        **array(BARE, minItems=1, maxItems=TABLES_MOST),
        "description": "Tables of no restaurant.",
    },
}
GENERATE = record({"template_id": ID}, {"settings": SETTINGS, **WHICH_TABLES})
VALIDATE = record({}, {"settings": SETTINGS, **WHICH_TABLES})
HISTORY: Mapping[str, Schema] = {
    "restaurant_id": ID,
    "template_id": ID,
    "status": {"type": "string", "enum": list(STATES)},
    "author": {**TEXT, "maxLength": 200},
    "table": {**ID, "description": "Those with a card of this table."},
    "from": {**TIME, "description": "Asked for at this time or later."},
    "before": {**TIME, "description": "Asked for before this time."},
    **PAGE,
    "cursor": {**ID, "description": "The same as `after`."},
}
DETAILS: Mapping[str, Schema] = {
    "tables": {**TRUTH, "default": True, "description": "Whether `tables` is in the answer."},
}
CARDS: Mapping[str, Schema] = {
    "limit": PAGE["limit"],
    "after": {**WHOLE, "minimum": 0, "maximum": 9999, "description": "`next` of the page before."},
}

STATUS: Schema = {"type": "string", "enum": list(STATES)}
GENERATION: Mapping[str, Schema] = {
    "id": ID,
    "version": WHOLE,
    "status": STATUS,
    "restaurant_id": nullable(ID),
    "restaurant_name": nullable(TEXT),
    "template_id": ID,
    "template_name": TEXT,
    "author": TEXT,
    "scope": {"type": "string", "enum": ["all", "chosen", "new", "uuids"]},
    "settings": ANYTHING,
    "tables_total": WHOLE,
    "tables_done": WHOLE,
    "error_code": nullable(TEXT),
    "comment": nullable(TEXT),
    "attempts": WHOLE,
    "max_attempts": WHOLE,
    "stamper": nullable(TEXT),
    "created_at": TIME,
    "scheduled_at": nullable(TIME),
    "started_at": nullable(TIME),
    "finished_at": nullable(TIME),
    "deleted_at": {
        **nullable(TIME),
        "description": "Since when nothing of it can be downloaded; it is `deleted` as soon as"
        " the last file is gone.",
    },
}
_CARD: Mapping[str, Schema] = {
    "uuid": ID,
    "number": TEXT,
    "name": nullable(TEXT),
    "section": nullable(TEXT),
    "url": nullable(TEXT),
    "is_done": TRUTH,
}
CARD = record(_CARD)
PROVEN_CARD = record(
    {
        **_CARD,
        "place": WHOLE,
        "size_bytes": nullable(WHOLE),
        "sha256": nullable(TEXT),
        "made_at": nullable(TIME),
        "evidence": {**nullable(ANYTHING), "description": "What the verifier saw."},
    }
)


def generation_item(row: Generation) -> dict[str, Any]:
    """A generation in the history."""
    return {
        "id": row.id,
        "version": row.version,
        "status": row.status,
        "restaurant_id": row.restaurant_id,
        "restaurant_name": row.restaurant_name,
        "template_id": row.template_id,
        "template_name": row.template_name,
        "author": row.author,
        "scope": row.scope,
        "settings": row.settings,
        "tables_total": row.tables_total,
        "tables_done": row.tables_done,
        "error_code": row.error_code,
        "comment": row.comment,
        "attempts": row.attempts,
        "max_attempts": row.max_attempts,
        "stamper": row.stamper,
        "created_at": row.created_at,
        "scheduled_at": row.scheduled_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "deleted_at": row.deleted_at,
    }


def card_item(card: CardFacts) -> dict[str, Any]:
    """A table of a generation, as it was when the cards were asked for."""
    table = card.data["table"]
    return {
        "uuid": card.uuid,
        "number": card.label,
        "name": table.get("name"),
        "section": table.get("section"),
        "url": table.get("url"),
        "is_done": card.made_at is not None,
    }


def proven_card(card: CardFacts) -> dict[str, Any]:
    """The same with its file, and what the verifier saw."""
    return card_item(card) | {
        "place": card.place,
        "size_bytes": card.byte_count,
        "sha256": None if card.sha256 is None else card.sha256.hex(),
        "made_at": card.made_at,
        "evidence": card.evidence,
    }
