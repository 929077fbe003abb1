"""Codes alone: as any file, of a table, a generation, a restaurant.

Proves PSM-034.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import uuid4

import pytest

from makeready.storage import Storage
from makeready_http import posm_qr
from tests.support.generating import Cardroom
from tests.support.made_cards import Made, codes, link, made_cards
from tests.support.service import Member, error_code

MakeCards = Callable[..., Awaitable[Made]]


@pytest.fixture
def make(cardroom: Cardroom, storage: Storage, viewer: Member) -> MakeCards:
    """Makes a generation with real cards."""
    return partial(made_cards, cardroom, storage, viewer)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf", "eps"])
async def test_a_code_alone_comes_as_any_file_psm_034(make: MakeCards, kind: str) -> None:
    made = await make(1)
    card = made.cards[0]
    answer = await made.viewer.get(f"/posm/qr/{card.uuid}", params={"format": kind})

    assert answer.status_code == 200, answer.text
    assert f"{card.uuid}.{kind}" in answer.headers["content-disposition"]
    if kind == "pdf":
        assert codes(answer.content, dpi=300) == [[link(card.uuid)]]
    if kind == "svg":
        assert link(card.uuid).encode() in answer.content
    zipped = await made.get("qr.zip", params={"format": kind})
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as found:
        assert found.namelist() == [f"Ресторан «Ёлки» v1 QR/Зал1.{kind}"]
        assert found.read(found.namelist()[0]) == answer.content


async def test_pictures_that_are_too_much_at_once_are_refused(
    make: MakeCards, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(3)
    monkeypatch.setattr(posm_qr, "MOST_DOTS_OF_ALL", 2 * 394**2)
    asked = {"format": "png", "size_mm": 20, "dpi": 500}
    refused = await made.get("qr.zip", params=asked)
    assert (refused.status_code, error_code(refused)) == (400, "invalid_request")
    some = {**asked, "tables": f"{made.cards[0].uuid},{made.cards[1].uuid}"}
    assert (await made.get("qr.zip", params=some)).status_code == 200


async def test_codes_of_a_restaurant_are_those_of_its_tables_now_psm_034(
    make: MakeCards, cardroom: Cardroom
) -> None:
    made = await make(2)
    await cardroom.put(made.restaurant, "Зал/1", "Зал/2", "Терраса 3")
    path = f"/restaurants/{made.restaurant}/qr.zip"
    answer = await made.viewer.get(path)

    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        names = found.namelist()
    assert names[2] == "Ресторан «Ёлки» QR/Терраса 3.svg"
    again = await made.viewer.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    empty = await cardroom.restaurant(0)
    assert error_code(await made.viewer.get(f"/restaurants/{empty}/qr.zip")) == "conflict"
    assert error_code(await made.viewer.get(f"/restaurants/{uuid4()}/qr.zip")) == (
        "restaurant_not_found"
    )


async def test_any_uuid_has_a_code_once_links_are_known_psm_034(
    viewer: Member, cardroom: Cardroom
) -> None:
    table = uuid4()
    found = await viewer.get(f"/posm/qr/{table}")
    assert link(table).encode() in found.content
    for params in ({"format": "gif"}, {"quiet_zone": 3}, {"format": "png", "size_mm": 1000}):
        answer = await viewer.get(f"/posm/qr/{table}", params=params)
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
    assert (await viewer.get("/posm/qr/7")).status_code == 400
    await cardroom.db.execute("update makeready.posm_policy set link_template = null")
    refused = await viewer.get(f"/posm/qr/{table}")
    assert (refused.status_code, refused.json()["error"]["details"]["reason"]) == (409, "no_link")
