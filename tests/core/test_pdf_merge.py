"""One PDF of many: bookmarks, links, tags, labels, equal bytes; and pictures of first pages."""

from __future__ import annotations

import io
from typing import Any

import pikepdf
import pymupdf
import pytest
from pikepdf import Array, Dictionary, Name, String

from makeready import pdf
from makeready.pdf import (
    MERGED_PARTS,
    InvalidPdf,
    merge_aside,
    text_of,
    thumbnail_aside,
    verify_aside,
)
from tests.support.pdfs import made

CHAPTERS = ((1, "One", 1), (2, "Deeper", 2), (1, "Two", 2))


def changed(data: bytes, change: Any) -> bytes:
    """The PDF after `change` has had it as pikepdf's."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(data)) as document:
        change(document)
        document.save(out, static_id=True)
    return out.getvalue()


def linked(document: pikepdf.Pdf) -> None:
    """Page 1 leads to page 2 by a name, as a browser prints it; the outline uses it as well."""
    first, second = (page.obj for page in document.pages)
    document.Root.Dests = Dictionary({"/there": Array([second, Name.XYZ, 0, 800, 0])})
    note = Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=[0, 0, 9, 9], Dest=Name("/there"))
    first.Annots = Array([document.make_indirect(note)])
    item = Dictionary(Title=String("There"), Dest=Name("/there"))
    outline = document.make_indirect(Dictionary(Type=Name.Outlines))
    outline.First = outline.Last = document.make_indirect(item)
    document.Root.Outlines = outline


def tagged(document: pikepdf.Pdf) -> None:
    """One paragraph a page."""
    root = document.make_indirect(Dictionary(Type=Name.StructTreeRoot))
    kids = Array()
    nums: Any = Array()
    for number, page in enumerate(document.pages):
        page.obj.StructParents = number
        kid = Dictionary(Type=Name.StructElem, S=Name.P, P=root, Pg=page.obj, K=0)
        kids.append(document.make_indirect(kid))
        nums.append(number)
        nums.append(Array([kids[-1]]))
    root.K, root.ParentTree = kids, Dictionary(Nums=nums)
    root.RoleMap = Dictionary(Chapter=Name.Sect)
    document.Root.StructTreeRoot = root
    document.Root.Lang = String("ru")


async def test_each_document_gets_a_bookmark_and_keeps_its_own_below() -> None:
    parts = [
        ("Счёт № 1", made("Счёт", outline=())),
        ("Отчёт", made("Отчёт", pages=2, outline=CHAPTERS)),
        ("Письмо", made("Письмо", outline=((1, "Only", 1),))),
    ]
    whole = await merge_aside(parts)
    assert whole == await merge_aside(parts), "equal parts, equal bytes"
    with pymupdf.open(stream=whole) as document:
        assert document.get_toc() == [
            [1, "Счёт № 1", 1],
            [1, "Отчёт", 2],
            [2, "One", 2],
            [3, "Deeper", 3],
            [2, "Two", 3],
            [1, "Письмо", 4],
            [2, "Only", 4],
        ]
        assert [page.get_label() for page in document] == ["1-1", "2-1", "2-2", "3-1"]
    assert text_of(whole).split() == ["Счёт", "Отчёт", "Отчёт", "Письмо"]
    assert (await verify_aside(whole, pages=4)).pages == 4


async def test_links_lead_to_the_same_page_also_when_names_are_the_same() -> None:
    part = changed(made(pages=2), linked)
    whole = await merge_aside([("A", part), ("B", part)])
    with pymupdf.open(stream=whole) as document:
        assert [page.get_links()[0]["page"] for page in document if page.get_links()] == [1, 3]
        assert document.get_toc() == [[1, "A", 1], [2, "There", 2], [1, "B", 3], [2, "There", 4]]


async def test_tags_of_all_documents_are_found_from_their_pages() -> None:
    part = changed(made(pages=2), tagged)
    whole = await merge_aside([("A", part), ("B", made()), ("C", part)])
    with pikepdf.open(io.BytesIO(whole)) as document:
        root = document.Root.StructTreeRoot
        parents = pikepdf.NumberTree(root.ParentTree)
        assert len(root.K) == 4
        assert root.RoleMap.Chapter == Name.Sect
        for number in (0, 1, 3, 4):
            page = document.pages[number].obj
            assert parents[int(page.StructParents)][0].Pg.objgen == page.objgen
        assert Name.StructParents not in document.pages[2].obj
        assert not document.Root.MarkInfo.Marked, "one part has no tags"
        assert Name.Lang not in document.Root
    whole = await merge_aside([("A", part), ("C", part)], title="Вместе")
    with pikepdf.open(io.BytesIO(whole)) as document:
        assert document.Root.MarkInfo.Marked
        assert document.Root.Lang == "ru"
        assert document.docinfo.Title == "Вместе"


async def test_a_picture_that_all_documents_show_is_kept_once() -> None:
    noise = pymupdf.Pixmap(pymupdf.csRGB, 100, 100, bytes(range(250)) * 120, False)

    def part(word: str) -> bytes:
        with pymupdf.open(stream=made(word)) as document:
            document[0].insert_image(pymupdf.Rect(0, 100, 99, 199), pixmap=noise)
            return bytes(document.tobytes())

    whole = await merge_aside([(word, part(word)) for word in ("one", "two", "three")])
    with pymupdf.open(stream=whole) as document:
        assert len({page.get_images()[0][0] for page in document}) == 1


async def test_an_outline_that_runs_in_circles_is_left_out() -> None:
    def spin(document: pikepdf.Pdf) -> None:
        document.Root.Outlines.First.Next = document.Root.Outlines.First

    part = changed(made(outline=((1, "Round", 1),)), spin)
    with pymupdf.open(stream=await merge_aside([("A", part)])) as document:
        assert document.get_toc() == [[1, "A", 1]]


async def test_a_part_with_a_broken_structure_is_named_and_the_helper_lives() -> None:
    def change(document: pikepdf.Pdf) -> None:
        tagged(document)
        document.Root.StructTreeRoot.K = Array([7])

    await verify_aside(made())
    helper = pdf._helper()._process
    with pytest.raises(InvalidPdf, match="Odd: it cannot be read"):
        await merge_aside([("Good", made()), ("Odd", changed(made(), change))])
    assert pdf._helper()._process is helper


async def test_what_cannot_be_merged_is_named() -> None:
    with pytest.raises(InvalidPdf, match="Broken: it does not open"):
        await merge_aside([("Good", made()), ("Broken", b"%PDF-1.4 and then nothing")])
    with pytest.raises(InvalidPdf, match="0 documents"):
        await merge_aside([])
    with pytest.raises(InvalidPdf, match=f"from 1 to {MERGED_PARTS}"):
        await merge_aside([("x", b"")] * (MERGED_PARTS + 1))
    with pytest.raises(InvalidPdf, match="100 are allowed"):
        await merge_aside([("x", made())], size_limit=100)


async def test_a_thumbnail_shows_the_first_page_as_wide_as_asked() -> None:
    small = pymupdf.Pixmap(await thumbnail_aside(made("Привет", pages=2)))
    assert (small.width, small.height) == (320, pytest.approx(453, abs=1))
    assert small.color_count() > 1, "the text is there"
    strip = pymupdf.Pixmap(await thumbnail_aside(made(size=(200, 5000)), 100))
    assert (strip.width, strip.height) == (100, 400)
    with pytest.raises(ValueError, match="from 16 to"):
        await thumbnail_aside(made(), 5000)
    with pytest.raises(InvalidPdf, match="begin with"):
        await thumbnail_aside(b"GIF89a")
