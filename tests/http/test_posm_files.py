"""Downloads of table cards: archive, single cards, print files, sheets.

Proves PSM-031, PSM-032, PSM-035.
"""

from __future__ import annotations

import asyncio
import csv
import io
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pymupdf
import pytest

from makeready import posm, restaurants, stamping
from makeready.config import Settings
from makeready.posm_making import GenerationInput
from makeready.storage import Storage
from makeready_http import posm_files, posm_parts, posm_prints
from makeready_http.services import HEAVY, Services
from tests.support.card_templates import heavy, settings_for
from tests.support.generating import Cardroom
from tests.support.made_cards import Made, codes, link, made_cards
from tests.support.service import Member, error_code, member, serving
from tests.support.waiting import until

MakeCards = Callable[..., Awaitable[Made]]


@pytest.fixture
def make(cardroom: Cardroom, storage: Storage, viewer: Member) -> MakeCards:
    """Makes a generation with real cards."""
    return partial(made_cards, cardroom, storage, viewer)


async def test_all_cards_come_as_one_archive_with_a_list_psm_031_psm_032(make: MakeCards) -> None:
    made = await make(3)
    answer = await made.get("archive")

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-length"] == str(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        names = found.namelist()
        assert found.testzip() is None
        files = {name: found.read(name) for name in names}
    assert names == [
        "Ресторан «Ёлки» v1/Зал1.pdf",
        "Ресторан «Ёлки» v1/Зал2.pdf",
        "Ресторан «Ёлки» v1/Зал3.pdf",
        "Ресторан «Ёлки» v1/manifest.csv",
    ]
    rows = list(csv.DictReader(io.StringIO(files[names[3]].decode("utf-8-sig")), delimiter=";"))
    for row, card in zip(rows, made.cards, strict=True):
        body = files[f"Ресторан «Ёлки» v1/{row['file']}"]
        assert codes(body) == [[link(card.uuid)]] == [[row["url"]]]
        assert (row["table"], row["sha256"]) == (str(card.uuid), card.sha256.hex())
        assert row["number"].startswith("Зал/")
        assert float(row["module_mm"]) > 1


async def test_an_archive_is_the_same_each_time_and_goes_on_anywhere_psm_032(
    make: MakeCards,
) -> None:
    made = await make(3)
    whole = await made.get("archive")
    again = await made.get("archive")
    assert (again.content, again.headers["etag"]) == (whole.content, whole.headers["etag"])

    resumed = await made.get(
        "archive", headers={"Range": "bytes=40000-", "If-Range": whole.headers["etag"]}
    )
    assert resumed.status_code == 206
    assert resumed.content == whole.content[40_000:]
    known = await made.get("archive", headers={"If-None-Match": whole.headers["etag"]})
    assert known.status_code == 304
    beyond = await made.get("archive", headers={"Range": "bytes=99999999-"})
    assert error_code(beyond) == "range_not_satisfiable"
    head = await made.viewer.client.head(f"/posm/generations/{made.id}/archive")
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.content == b""


async def test_what_changes_at_the_restaurant_later_changes_no_archive_psm_032(
    make: MakeCards, cardroom: Cardroom
) -> None:
    """Or the second half of a download would not fit the first."""
    made = await make(3)
    before = await made.get("archive")
    await restaurants.change(cardroom.db, made.restaurant, {"name": "Сосны", "city": "Пермь"})
    await cardroom.put(made.restaurant, "Зал/3", "Бар")
    after = await made.get("archive")

    assert after.content == before.content
    assert after.headers["content-disposition"] == before.headers["content-disposition"]


async def test_some_tables_are_printed_again_under_the_same_names_psm_031(
    make: MakeCards,
) -> None:
    made = await make(3, settings={**settings_for(), "output": {"name": "Стол"}})
    two = f"{made.cards[2].uuid},{made.cards[1].uuid}"

    with zipfile.ZipFile(
        io.BytesIO((await made.get("archive", params={"tables": two})).content)
    ) as found:
        assert [name.rpartition("/")[2] for name in found.namelist()] == [
            "Стол (2).pdf",
            "Стол (3).pdf",
            "manifest.csv",
        ]
    one = await made.get("print.pdf", params={"tables": str(made.cards[1].uuid)})
    assert codes(one.content) == [[link(made.cards[1].uuid)]]
    odd = await made.get("archive", params={"tables": "7"})
    assert (odd.status_code, error_code(odd)) == (400, "invalid_request")
    missing = await made.get("archive", params={"tables": str(uuid4())})
    assert (missing.status_code, error_code(missing)) == (404, "table_not_found")


async def test_a_card_that_storage_lost_is_told_before_the_first_byte_psm_032(
    make: MakeCards, storage: Storage
) -> None:
    made = await make(3)
    await storage.delete([made.cards[1].key])

    answer = await made.get("archive")
    assert (answer.status_code, error_code(answer)) == (409, "conflict")
    details = answer.json()["error"]["details"]
    assert details["reason"] == "objects_missing"
    assert [table["uuid"] for table in details["tables"]] == [str(made.cards[1].uuid)]
    single = await made.get(f"tables/{made.cards[1].uuid}")
    assert error_code(single) == "conflict"
    await storage.put(made.cards[1].key, b"half a card")
    assert error_code(await made.get("archive")) == "conflict"
    assert (await made.get(f"tables/{made.cards[0].uuid}")).status_code == 200


async def test_other_bytes_than_were_verified_are_not_handed_out_psm_031_psm_032(
    make: MakeCards, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(3)
    card = made.cards[1]
    body = await storage.get(card.key)
    await storage.put(card.key, body[:5000] + b"?" + body[5001:])

    for path in (f"tables/{card.uuid}", f"tables/{card.uuid}?format=png"):
        answer = await made.get(path)
        assert (answer.status_code, error_code(answer)) == (503, "storage_unavailable")
    with pytest.raises(httpx2.RemoteProtocolError):  # it breaks off, which a client notices
        await made.get("archive")
    monkeypatch.setattr(posm_files, "READ_BYTES", 1000)  # one that is sent while it is read
    with pytest.raises(httpx2.RemoteProtocolError):
        await made.get(f"tables/{card.uuid}")
    await storage.put(card.key, body)
    assert (await made.get(f"tables/{card.uuid}")).content == body


async def test_a_template_of_other_bytes_is_not_remembered(
    make: MakeCards, storage: Storage
) -> None:
    made = await make(1)
    ((key, _),) = (await storage.sizes("posm/templates/")).items()
    body = await storage.get(key)
    await storage.put(key, body[:-1])
    assert error_code(await made.get("print.pdf")) == "storage_unavailable"
    await storage.put(key, body)
    assert (await made.get("print.pdf")).status_code == 200


async def test_few_print_at_a_time_and_others_may_come_again(
    make: MakeCards, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, at_work, go_on = await make(1), 0, asyncio.Event()

    async def slow(*_: object) -> bytes:
        nonlocal at_work
        at_work += 1
        await go_on.wait()
        return b"%PDF"

    read: list[UUID] = []

    async def order_of(services: Services, generation: UUID) -> GenerationInput:
        read.append(generation)
        return await posm_files.order_of(services, generation)

    monkeypatch.setattr(stamping, "print_file", slow)
    monkeypatch.setattr(posm_prints, "order_of", order_of)
    monkeypatch.setattr(posm_parts, "TURN_S", 0.1)
    first = [asyncio.create_task(made.get("print.pdf")) for _ in range(HEAVY)]
    await until(lambda: at_work == HEAVY, what="prints at work")
    refused = await made.get("print.pdf")
    assert (refused.status_code, error_code(refused)) == (503, "queue_unavailable")
    assert "retry-after" in refused.headers
    assert len(read) == HEAVY, "who has no turn yet holds nothing in memory"
    go_on.set()
    assert [answer.status_code for answer in await asyncio.gather(*first)] == [200] * HEAVY


async def test_one_card_is_shown_as_pdf_and_picture_psm_031(make: MakeCards) -> None:
    made = await make(2)
    card = made.cards[1]
    pdf = await made.get(f"tables/{card.uuid}")

    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.headers["etag"] == f'"{card.sha256.hex()}"'
    assert "attachment" in pdf.headers["content-disposition"]
    assert "%D0%97%D0%B0%D0%BB2.pdf" in pdf.headers["content-disposition"]
    assert codes(pdf.content) == [[link(card.uuid)]]
    part = await made.get(f"tables/{card.uuid}", headers={"Range": "bytes=100-199"})
    assert part.content == pdf.content[100:200]
    png = await made.get(
        f"tables/{card.uuid}", params={"format": "png", "dpi": 100, "inline": "true"}
    )
    assert png.headers["content-type"] == "image/png"
    assert png.headers["content-disposition"].startswith("inline;")
    picture = pymupdf.Pixmap(png.content)
    assert (picture.width, picture.height) == (414, 583)
    beyond = await made.get(f"tables/{card.uuid}", params={"format": "png", "page": 2})
    assert error_code(beyond) == "validation_failed"
    for odd in (uuid4(), "7"):
        assert error_code(await made.get(f"tables/{odd}")) == "table_not_found"


async def test_a_card_may_come_by_a_link_to_storage_psm_035(
    make: MakeCards, settings: Settings, db: asyncpg.Connection
) -> None:
    made = await make(1)
    changed = replace(settings, posm_delivery="presign")
    async with (
        serving(changed) as other,
        member(other, changed, db, "viewer", name="vera") as user,
    ):
        path = f"/posm/generations/{made.id}/tables/{made.cards[0].uuid}"
        answer = await user.get(path, follow_redirects=False)
        assert answer.status_code == 307
        assert answer.headers["cache-control"] == "no-store"
        async with httpx2.AsyncClient() as anybody:
            found = await anybody.get(answer.headers["location"])
        assert found.content == (await made.get(f"tables/{made.cards[0].uuid}")).content
        assert "%D0%97" in found.headers["content-disposition"]
        png = await user.get(path, params={"format": "png"})
        assert png.status_code == 200


async def test_a_print_file_has_all_cards_and_their_background_once_psm_031(
    make: MakeCards,
) -> None:
    made = await make(2, pdf=heavy(), settings=settings_for(pages=(1, 2)))
    answer = await made.get("print.pdf")

    assert answer.status_code == 200, answer.text
    assert "v1%20print.pdf" in answer.headers["content-disposition"]
    assert codes(answer.content, dpi=90) == [
        [link(card.uuid)] for card in made.cards for _ in "12"
    ]
    assert len(answer.content) < len(heavy()) + 100_000
    known = await made.get("print.pdf", headers={"If-None-Match": answer.headers["etag"]})
    assert known.status_code == 304
    part = await made.get("print.pdf", headers={"Range": "bytes=-9"})
    assert part.content == answer.content[-9:]


async def test_cards_are_imposed_on_sheets_as_settings_or_request_say(make: MakeCards) -> None:
    impose = {"sheet": "SRA3", "cols": 4, "rows": 2, "bleed": 3, "crop_marks": True}
    made = await make(3, settings={**settings_for(), "output": {"impose": impose}})
    links = sorted(link(card.uuid) for card in made.cards)

    frozen = await made.get("sheet.pdf")
    assert frozen.status_code == 200, frozen.text
    assert codes(frozen.content) == [links]
    partly = await made.get("sheet.pdf", params={"start": 7})
    assert [len(page) for page in codes(partly.content)] == [1, 2]
    small = await made.get(
        "sheet.pdf",
        params={
            "sheet": "120x160",
            "bleed": "0",
            "crop_marks": "false",
            "tables": made.cards[0].uuid,
        },
    )
    assert codes(small.content) == [[link(made.cards[0].uuid)]]
    with pymupdf.open(stream=small.content, filetype="pdf") as document:
        assert document[0].rect.width == pytest.approx(120 / 25.4 * 72, abs=0.1)
    for params, code in (
        ({"sheet": "100x100"}, "sheet_too_small"),
        ({"cols": 9}, "sheet_too_small"),
        ({"start": 8}, "sheet_start"),
    ):
        answer = await made.get("sheet.pdf", params=params)
        assert answer.status_code == 422
        assert [each["code"] for each in answer.json()["error"]["details"]] == [code]
    assert error_code(await made.get("sheet.pdf", params={"sheet": "B9"})) == "invalid_request"


async def test_without_settings_for_sheets_as_many_cards_as_fit_lie_on_sra3(
    make: MakeCards,
) -> None:
    made = await make(9)
    assert [len(page) for page in codes((await made.get("sheet.pdf")).content)] == [8, 1]
    a4 = await made.get("sheet.pdf", params={"sheet": "A4", "bleed": "0", "crop_marks": "false"})
    assert [len(page) for page in codes(a4.content)] == [4, 4, 1]


PATHS = ("archive", "print.pdf", "sheet.pdf", "qr.zip")


async def test_only_what_is_done_can_be_downloaded_psm_032(
    cardroom: Cardroom, viewer: Member, db: asyncpg.Connection
) -> None:
    generation = (await cardroom.press(await cardroom.template(), await cardroom.restaurant(1))).id
    base = f"/posm/generations/{generation}"
    table = (await posm.cards(db, generation))[0].uuid
    for path in (*PATHS, f"tables/{table}"):
        answer = await viewer.get(f"{base}/{path}")
        assert (answer.status_code, error_code(answer)) == (409, "conflict"), path
        assert answer.json()["error"]["details"]["reason"] == "not_done"
        unknown = await viewer.get(f"/posm/generations/{uuid4()}/{path}")
        assert error_code(unknown) == "generation_not_found"
        assert error_code(await viewer.get(f"/posm/generations/7/{path}")) == (
            "generation_not_found"
        )
        bare = await viewer.client.get(f"{base}/{path}", headers={"Authorization": ""})
        assert error_code(bare) == "unauthorized"


async def test_what_retention_took_away_is_gone_psm_032(
    make: MakeCards, db: asyncpg.Connection
) -> None:
    made = await make(1)
    await db.execute(
        "update makeready.posm_generations set purging_at = now() where id = $1", made.id
    )
    for path in (*PATHS, f"tables/{made.cards[0].uuid}"):
        answer = await made.get(path)
        assert (answer.status_code, error_code(answer)) == (410, "generation_deleted"), path
