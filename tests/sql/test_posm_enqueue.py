"""The button: which tables, one active of a pair, versions, keys. PSM-009 to 016, and 044."""

from __future__ import annotations

from makeready import posm, posm_making
from tests.support.generating import LINK, Cardroom


async def test_a_generation_goes_from_created_to_done_psm_017(room: Cardroom) -> None:
    place, template = await room.restaurant(), await room.template()
    made = await room.press(template, place, wake=False)
    assert (made.status, made.version, made.is_new) == ("created", 1, True)
    assert await room.status(made.id) == "created"
    assert await posm.admit(room.db) == 1
    assert await room.status(made.id) == "scheduled"
    claimed = await room.one()
    assert claimed.job.id == made.id  # PSM-019: the worker's task id is the generation's
    assert await room.status(made.id) == "in-progress"
    assert await room.make(claimed) == "ok"
    assert await posm_making.finish(room.db, claimed.lease, {}) == "repeat"
    assert await room.status(made.id) == "done"
    cards = await posm.manifest(room.db, made.id)
    assert [card.label for card in cards] == ["1", "2", "3"]
    found = await posm_making.input_of(room.db, made.id)
    assert found
    row = found.cards[0].row
    assert row["table"]["url"] == LINK.format(uuid=cards[0].uuid)
    assert row["restaurant"]["name"] == "Ёлки"
    assert row["generation"]["version"] == 1
