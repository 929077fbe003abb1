"""What is downloaded of a generation: names of files, the manifest, the archive.

All of it follows from what is stored, so that equal requests get equal bytes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from makeready.archive import Archive, Entry
from makeready.cards import values
from makeready.cards.settings import USUAL_NAME
from makeready.file_names import file_name
from makeready.posm import StoredCard
from makeready.posm_making import GenerationInput

MANIFEST = "manifest.csv"
COLUMNS = (
    "file", "table", "number", "name", "section", "url", "bytes", "sha256",
    "contrast", "module_mm", "position_error_mm", "verifier",
)  # fmt: skip
_SEEN = ("contrast", "min_module_mm", "position_error_mm", "verifier")
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d\s]*$)")


def title_of(order: GenerationInput) -> str:
    """What a generation is called in the name of a file, such as `Ёлки v3`.

    As it was when it was made: a restaurant that is renamed must not change an archive of which
    somebody has the first half.
    """
    frozen = order.cards[0].row if order.cards else {}
    called = frozen.get("restaurant", {}).get("name") or f"cards {order.made_on.isoformat()}"
    return file_name(f"{called} v{order.version}")


def names_of(order: GenerationInput) -> dict[UUID, str]:
    """The file name of each card; the same whichever of them are downloaded."""
    pattern = order.settings.get("output", {}).get("name", USUAL_NAME)
    names = values.card_names(pattern, [card.row for card in order.cards])
    return {card.uuid: name for card, name in zip(order.cards, names, strict=True)}


def archive_of(
    order: GenerationInput, cards: Sequence[StoredCard], finished_at: datetime
) -> Archive:
    """A folder with these cards and a list of them; its times are that of the generation."""
    folder, names = title_of(order), names_of(order)
    entries = [
        Entry(
            name=f"{folder}/{names[card.uuid]}",
            byte_count=card.byte_count,
            crc32=card.crc32,
            source=card.key,
        )
        for card in cards
    ]
    listed = Entry.of(f"{folder}/{MANIFEST}", manifest_csv(cards, names))
    return Archive([*entries, listed], finished_at)


def manifest_csv(cards: Sequence[StoredCard], names: Mapping[UUID, str]) -> bytes:
    """What each file is, and what was seen of it; as the tables' own office programs read CSV."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter=";", lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for card in cards:
        table, seen = card.data["table"], card.evidence or {}
        facts = [table.get(key) for key in ("number", "name", "section", "url")]
        sums = [card.byte_count, card.sha256.hex(), *(seen.get(key) for key in _SEEN)]
        rows.writerow([_harmless(each) for each in (names[card.uuid], card.uuid, *facts, *sums)])
    return text.getvalue().encode("utf-8-sig")


def _harmless(value: object) -> str:
    """What a spreadsheet would calculate gets an apostrophe; numbers stay as they are."""
    text = "" if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) else text
