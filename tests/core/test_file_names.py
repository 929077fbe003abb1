from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makeready.file_names import MAX_BYTES, file_name, file_names

NASTY = st.sampled_from(["con.pdf", "a", "A", "a (2)", "..", "/", "ё" * 90, ".pdf", " ", "COM¹.x"])
NAMES = st.text(st.characters(), max_size=200) | NASTY
FORBIDDEN = set('<>:"/\\|?*')


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("Стол № 7.pdf", "Стол № 7.pdf"),
        ('Зал: «у окна»/12 "VIP"?.pdf', "Зал «у окна»12 VIP.pdf"),
        ("../../etc/passwd", "etcpasswd"),
        ("  7 . .pdf", "7.pdf"),
        ("и\u0306.pdf", "й.pdf"),
        ("a\u202efdp.exe\n.pdf", "afdp.exe.pdf"),
        ("con.pdf", "_con.pdf"),
        ("LPT1 .first.pdf", "_LPT1 .first.pdf"),
        ("console.pdf", "console.pdf"),
        ("", "_"),
        (".pdf", "pdf"),
        ("\ud800.pdf", "pdf"),
    ],
)
def test_a_name_keeps_what_every_system_takes(wanted: str, got: str) -> None:
    assert file_name(wanted) == got


def test_a_long_name_keeps_its_extension_and_no_half_letter() -> None:
    found = file_name("Ы" * 200 + ".pdf")

    assert found.endswith("Ы.pdf")
    assert len(found.encode()) == MAX_BYTES


def test_the_second_of_two_equal_names_gets_a_number() -> None:
    """Names that differ in case alone are one file on Windows and macOS."""
    assert file_names(["7.pdf", "8.pdf", "7.pdf", "7.PDF"]) == [
        "7.pdf", "8.pdf", "7 (2).pdf", "7 (3).PDF",
    ]  # fmt: skip


def test_a_number_never_takes_a_name_that_somebody_has() -> None:
    assert file_names(["a", "a", "a (2)"]) == ["a", "a (3)", "a (2)"]
    long = "x" * 300
    assert [len(name) for name in file_names([long, long])] == [MAX_BYTES, MAX_BYTES]


@settings(deadline=None)
@given(st.lists(NAMES, max_size=20))
def test_any_names_become_as_many_that_can_be_written(names: list[str]) -> None:
    found = file_names(names)

    assert len(found) == len(names) == len({name.casefold() for name in found})
    for name in found:
        assert 0 < len(name.encode()) <= MAX_BYTES
        assert not FORBIDDEN & set(name)
        assert name == name.strip(" .") == unicodedata.normalize("NFC", name)
        assert all(unicodedata.category(char) not in {"Cc", "Cf", "Cs"} for char in name)
        assert file_name(name) == name
