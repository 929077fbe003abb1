"""Downloads of table cards: archive, single cards, print files, sheets, codes.

Proves PSM-031, PSM-032, PSM-034, PSM-035.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pymupdf
import pytest
import zxingcpp

from makeready import posm, posm_making, restaurants
from makeready.cards.press import Order, Press
from makeready.cards.verify import Verifier
from makeready.config import Settings
from makeready.posm import StoredCard
from makeready.posm_making import GenerationInput, MadeCard
from makeready.storage import Storage
from tests.http.conftest import MakeMember
from tests.support.card_templates import heavy, light, settings_for
from tests.support.generating import LINK, STAMPER, Cardroom
from tests.support.service import Member, error_code, member, serving
from tests.support.workshop import stored_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A generation that is done, and who looks at it."""

    viewer: Member
    id: UUID
    restaurant: UUID
    cards: list[StoredCard]

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """GET below the generation."""
        return await self.viewer.get(f"/posm/generations/{self.id}/{path}", **options)


MakeCards = Callable[..., Awaitable[Made]]


@pytest.fixture
def make(cardroom: Cardroom, storage: Storage, staff: MakeMember) -> MakeCards:
    """Makes a generation with real cards."""

    async def make(
        tables: int = 3, pdf: bytes | None = None, settings: Mapping[str, Any] | None = None
    ) -> Made:
        restaurant = await cardroom.restaurant(0, name="Ресторан «Ёлки»")
        await cardroom.put(restaurant, *(f"Зал/{number}" for number in range(1, tables + 1)))
        template = await stored_template(cardroom.db, storage, pdf, settings)
        pressed = await cardroom.press(template, restaurant)
        found = await posm_making.input_of(cardroom.db, pressed.id)
        assert found is not None
        made = await _stamped(storage, found, light() if pdf is None else pdf)
        # Only now: a lease does not wait for a busy machine.
        claimed = await cardroom.one()
        await posm_making.begin(cardroom.db, claimed.lease, STAMPER)
        await posm_making.keep(cardroom.db, claimed.lease, made)
        assert await posm_making.finish(cardroom.db, claimed.lease, {}) == "ok"
        return Made(
            viewer=await staff("viewer"),
            id=pressed.id,
            restaurant=restaurant,
            cards=await posm.manifest(cardroom.db, pressed.id),
        )

    return make


async def _stamped(storage: Storage, found: GenerationInput, pdf: bytes) -> list[MadeCard]:
    rows = [card.row for card in found.cards]
    press = Press.open(Order(pdf=pdf, settings=found.settings, rows=rows))
    verifier, made = Verifier(press), []
    for place, wanted in enumerate(found.cards):
        card = press.stamp(place)
        key = f"posm/{found.id}/{wanted.uuid}-{card.sha256.hex()[:12]}.pdf"
        stored = await storage.put(key, press.whole(card), media_type="application/pdf")
        evidence = verifier.check(card)
        made.append(MadeCard(uuid=wanted.uuid, stored=stored, crc32=card.crc32, evidence=evidence))
    return made


def codes(pdf: bytes, *, dpi: int = 150) -> list[list[str]]:
    """What a phone reads on each page."""
    found = []
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        for page in document:
            picture = page.get_pixmap(dpi=dpi, colorspace=pymupdf.csGRAY)
            pixels = memoryview(picture.samples).cast("B", (picture.height, picture.width))
            found.append(sorted(code.text for code in zxingcpp.read_barcodes(pixels)))
    return found


def link(table: UUID) -> str:
    return LINK.replace("{uuid}", str(table))


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
    staff: MakeMember, cardroom: Cardroom
) -> None:
    viewer, table = await staff("viewer"), uuid4()
    found = await viewer.get(f"/posm/qr/{table}")
    assert link(table).encode() in found.content
    for params in ({"format": "gif"}, {"quiet_zone": 3}, {"format": "png", "size_mm": 1000}):
        answer = await viewer.get(f"/posm/qr/{table}", params=params)
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
    assert (await viewer.get("/posm/qr/7")).status_code == 400
    await cardroom.db.execute("update makeready.posm_policy set link_template = null")
    refused = await viewer.get(f"/posm/qr/{table}")
    assert (refused.status_code, refused.json()["error"]["details"]["reason"]) == (409, "no_link")


PATHS = ("archive", "print.pdf", "sheet.pdf", "qr.zip")


async def test_only_what_is_done_can_be_downloaded_psm_032(
    cardroom: Cardroom, staff: MakeMember, db: asyncpg.Connection
) -> None:
    generation = (await cardroom.press(await cardroom.template(), await cardroom.restaurant(1))).id
    viewer = await staff("viewer")
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
