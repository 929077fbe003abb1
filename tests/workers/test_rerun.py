"""`makeready rerun` repeats a render and leaves the job as it is."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import render
from makeready.__main__ import main
from makeready.commands import rerun
from makeready.config import Settings
from makeready.documents import shipped
from makeready.documents.typesetting import Asset, Html
from makeready.errors import NotFound
from makeready.pdf import text_of
from makeready.print_options import PrintOptions
from makeready_workers import render_document
from makeready_workers.chromium.records import Fault, RenderError
from tests.support.objectstore import S3
from tests.support.rendering import Press


@dataclasses.dataclass(kw_only=True)
class Bench:
    """A failed render of an invoice, and where it is repeated."""

    db: asyncpg.Connection
    settings: Settings
    job: UUID
    folder: Path

    async def rerun(self, *, job: UUID | None = None, html: bool = False) -> int:
        options = argparse.Namespace(job=job or self.job, out=self.folder, html=html)
        return await asyncio.to_thread(rerun.run, self.settings, options)

    async def rows(self) -> list[str]:
        """Everything that a render could change."""
        found = []
        for table in ("jobs", "attempts", "pack_documents", "packs", "artifacts", "files"):
            rows = await self.db.fetch(f"select * from makeready.{table} t order by t::text")
            found += [f"{table} {tuple(row.values())}" for row in rows]
        return found


@pytest.fixture
async def bench(db: asyncpg.Connection, settings: Settings, s3: S3, tmp_path: Path) -> Bench:
    assert settings.s3_bucket == s3.bucket
    press = Press(db)
    await render.sync_types(db, render.shipped_types())
    user = await press.user()
    data = {"invoice": shipped.sample(shipped.document_type("invoice"), "ru")}
    pack = (await render.pack_create(db, user, data, language="ru")).pack_id
    job = await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())
    return Bench(db=db, settings=settings, job=job, folder=tmp_path / "out")


async def test_the_html_is_written_without_a_browser(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await bench.rows()
    nowhere = dataclasses.replace(bench.settings, chromium=Path("/nowhere"))
    bench.settings = nowhere
    assert await bench.rerun(html=True) == 0
    html = (bench.folder / "document.html").read_text("utf-8")
    assert "<html" in html
    assert not (bench.folder / "document.pdf").exists()
    out = capsys.readouterr().out
    assert "prints  invoice (ru), layout invoice" in out
    assert str(bench.folder / "document.html") in out
    assert await bench.rows() == before


async def test_assets_lie_beside_the_html_and_nowhere_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def named(*_: object, **__: object) -> render_document.Prepared:
        picture = Asset(media_type="image/png", content=b"a picture")
        assets = {"img/a.png": picture, "../../b.png": picture, "/tmp/c.png": picture}
        html = Html(html="<p>", assets=assets)
        return render_document.Prepared(html=html, options=PrintOptions(), version="v")

    monkeypatch.setattr(render_document, "prepare", named)
    assert await bench.rerun(html=True) == 0
    found = list(bench.folder.parent.rglob("*.png"))
    assert found == [bench.folder / "assets" / "img" / "a.png"]
    assert not Path("/tmp/c.png").exists()


@pytest.mark.slow
async def test_a_pdf_comes_out_also_of_a_job_that_was_pruned(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    await bench.db.execute("delete from makeready.render_jobs")
    before = await bench.rows()
    assert await bench.rerun() == 0
    body = (bench.folder / "document.pdf").read_bytes()
    assert "Счёт" in text_of(body)
    assert "pages" in capsys.readouterr().out
    assert await bench.rows() == before


@pytest.mark.slow
async def test_what_is_wrong_is_told_and_kept(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RenderError(Fault.RENDER_TIMEOUT, "it never ended", evidence={"console": ["x"]})
    error.screenshot = b"\xff\xd8 a picture"

    async def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(render_document, "print_ready", fails)
    before = await bench.rows()
    assert await bench.rerun() == 1
    out = capsys.readouterr().out
    assert "failed  RENDER_TIMEOUT: it never ended" in out
    seen = json.loads((bench.folder / "evidence.json").read_text("utf-8"))
    assert seen == {"console": ["x"]}
    assert (bench.folder / "screenshot.jpg").read_bytes() == error.screenshot
    assert await bench.rows() == before


async def test_data_that_does_not_fit_is_told_with_its_problems(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    await bench.db.execute("update makeready.pack_contents set content = '{}'")
    assert await bench.rerun(html=True) == 1
    assert "failed  validation_failed" in capsys.readouterr().out
    assert json.loads((bench.folder / "evidence.json").read_text("utf-8"))["problems"]


async def test_an_unknown_job_is_refused_with_what_to_do(bench: Bench) -> None:
    with pytest.raises(NotFound, match=r"pack_documents"):
        await bench.rerun(job=uuid4())


@pytest.mark.parametrize("words", [["rerun"], ["rerun", "x", "--local"], ["rerun", str(uuid4())]])
def test_a_wrong_call_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "rerun" in capsys.readouterr().err
