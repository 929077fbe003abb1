"""The PDF of a template over HTTP, and pictures of its pages. Proves PSM-008."""

from __future__ import annotations

from makeready.storage import Storage
from tests.support.card_office import found_in, template
from tests.support.card_templates import light, settings_for, turned
from tests.support.card_zoo import plain
from tests.support.service import Member


async def test_psm_008_another_pdf_takes_its_place_in_an_object_of_its_own(
    operator: Member, viewer: Member, storage: Storage
) -> None:
    made = await template(operator)
    path = f"/posm/templates/{made['id']}"
    first = await viewer.get(f"{path}/file")
    assert (first.headers["content-type"], first.content) == ("application/pdf", light())
    unread = await viewer.get(f"{path}/file", headers={"If-None-Match": first.headers["etag"]})
    assert (unread.status_code, unread.content) == (304, b"")
    small = plain(media=(0, 0, 100, 100))
    refused = await operator.client.put(f"{path}/file", content=small)
    assert set(found_in(refused).values()) >= {"field_outside_page"}
    answer = await operator.client.put(f"{path}/file", content=turned())
    assert answer.status_code == 200, answer.text
    assert answer.json()["template"]["file"]["pages"][0]["rotate"] == 90
    assert (await viewer.get(f"{path}/file")).content == turned()
    assert len([facts async for facts in storage.listing("posm/templates/")]) == 2


async def test_pages_are_drawn_with_a_grid_or_without(operator: Member, viewer: Member) -> None:
    path = f"/posm/templates/{(await template(operator))['id']}/pages"
    bare = await viewer.get(f"{path}/1.png?dpi=50")
    ruled = await viewer.get(f"{path}/1.png?dpi=50&grid=true")
    for picture in (bare, ruled):
        assert picture.headers["content-type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
    assert bare.content != ruled.content
    moved = settings_for()
    moved["fields"][0]["x"] += 1
    await operator.client.patch(path.removesuffix("/pages"), json={"settings": moved})
    again = await viewer.get(f"{path}/1.png?dpi=50&grid=true")
    assert again.content != ruled.content, "the grid shows the fields"
    assert (await viewer.get(f"{path}/1.png?dpi=50")).content == bare.content
    same = await viewer.get(
        f"{path}/1.png?dpi=50", headers={"If-None-Match": bare.headers["etag"]}
    )
    assert same.status_code == 304
    for missing in ("2.png", "0.png", "one.png"):
        assert (await viewer.get(f"{path}/{missing}")).status_code == 404
    assert (await viewer.get(f"{path}/1.png?dpi=9000")).status_code == 400
