"""`makeready posm`: cards from files, without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pymupdf
import pytest

from makeready.__main__ import main
from makeready.cards.reading import read_codes

LINK = "https://example.com/t/{uuid}"


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Template, settings and tables, as the command itself writes them."""
    assert main(["posm", "sample", "-o", str(tmp_path), "--tables", "5"]) == 0
    assert "makeready posm stamp" in capsys.readouterr().out
    return [str(tmp_path / name) for name in ("template.pdf", "settings.json", "tables.csv")]


def _change(path: str, old: str, new: str) -> None:
    text = Path(path).read_text("utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), "utf-8")


def test_cards_of_all_tables_a_print_file_and_sheets(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["posm", "stamp", *files, "--link", LINK, "-o", str(out), "--print", "--sheet"]
    assert main(words) == 0
    assert "5 cards, each read and checked" in capsys.readouterr().out
    cards = [f"Стол 00{number}.pdf" for number in range(1, 6)]
    assert {path.name for path in out.iterdir()} == {*cards, "print.pdf", "sheet.pdf"}
    codes = [read_codes((out / name).read_bytes())[0][0] for name in cards]
    assert len(set(codes)) == 5
    assert all(code.startswith("https://example.com/t/") for code in codes)
    for name in ("print.pdf", "sheet.pdf"):
        found = [code for page in read_codes((out / name).read_bytes()) for code in page]
        assert sorted(found) == sorted(codes)


def test_a_name_that_settings_leave_without_an_ending_gets_one(
    files: list[str], tmp_path: Path
) -> None:
    _change(files[1], "Стол {table.number|pad:3}.pdf", "Стол {table.number}")
    out = tmp_path / "out"
    assert main(["posm", "stamp", *files, "--link", LINK, "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {f"Стол {n}.pdf" for n in range(1, 6)}


def test_the_same_files_make_the_same_cards(files: list[str], tmp_path: Path) -> None:
    # PSM-029
    made = []
    for folder in ("a", "b"):
        assert main(["posm", "stamp", *files, "--link", LINK, "-o", str(tmp_path / folder)]) == 0
        made.append([path.read_bytes() for path in sorted((tmp_path / folder).iterdir())])
    assert made[0] == made[1]


def test_what_a_list_says_beside_tables_can_be_printed(files: list[str], tmp_path: Path) -> None:
    _change(files[1], "{table.section}", "{row.официант}")
    Path(files[2]).write_text("номер;ссылка;Официант\n1;https://e.example/1;Инна\n", "utf-8")
    out = tmp_path / "out"
    assert main(["posm", "stamp", *files, "-o", str(out)]) == 0
    with pymupdf.open(out / "Стол 001.pdf") as card:
        assert "Инна" in card[0].get_text()


def test_all_that_is_wrong_is_told_and_nothing_written(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _change(files[1], '"ecc": "M"', '"quiet_zone": 1')
    out = tmp_path / "out"
    words = ["posm", "stamp", *files, "-o", str(out)]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "[qr_quiet_zone]" in told
    assert "[link_missing]" in told  # no link was given
    assert "Traceback" not in told
    assert not out.exists()
    assert main([*words, "--lang", "ru"]) == 1
    assert re.search("[а-я]{3}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("place", "content", "told"),
    [
        (0, b"<html>", "[template_not_pdf]"),
        (1, b"{", "is no JSON"),
        (1, b"[]", "is no object"),
        (2, b"", "The file is empty"),
        (2, "номер\n1\n1\n".encode(), "Line 3"),
    ],
)
def test_files_that_cannot_be_used_are_told(
    files: list[str], capsys: pytest.CaptureFixture[str], place: int, content: bytes, told: str
) -> None:
    Path(files[place]).write_bytes(content)
    assert main(["posm", "check", *files, "--link", LINK]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_check_says_how_many_cards_can_be_made(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["posm", "check", *files, "--link", LINK]) == 0
    assert "5 cards can be made" in capsys.readouterr().out


def test_form_fields_become_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: list[str]
) -> None:
    with pymupdf.open() as document:
        page = document.new_page(width=300, height=400)
        widget = pymupdf.Widget()
        widget.field_name = "{table.number}"
        widget.field_type = 7  # text
        widget.rect = pymupdf.Rect(20, 20, 120, 60)
        page.add_widget(widget)
        document.save(tmp_path / "form.pdf")
    assert main(["posm", "fields", str(tmp_path / "form.pdf")]) == 0
    (field,) = json.loads(capsys.readouterr().out)["fields"]
    assert field["value"] == "{table.number}"
    assert main(["posm", "fields", files[0]]) == 1
    assert "no form fields" in capsys.readouterr().err
