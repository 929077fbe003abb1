"""Files of tables as people make them: read as meant, or refused with every line that is wrong."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makeready.tables_csv import (
    MAX_LINES,
    SEPARATORS,
    SheetRefused,
    TableLine,
    TableSheet,
    read_tables,
)
from makeready.tables_faults import wording

ROWS = [
    ["Номер", "Название", "Зал", "Мест", "Ссылка"],
    ["1", "У окна", "Летняя веранда", "4", ""],
    ["2а", 'Стол "Шеф"', "Зал; большой", "", "https://ёлки.рф/t/2"],
]


def written(rows: list[list[str]], separator: str = ";", newline: str = "\r\n") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=separator, lineterminator=newline).writerows(rows)
    return file.getvalue()


def faults(raw: str | bytes) -> list[tuple[int, str, str]]:
    with pytest.raises(SheetRefused) as caught:
        read_tables(raw if isinstance(raw, bytes) else raw.encode())
    for fault in caught.value.faults:
        for language in ("ru", "en"):
            assert "{" not in wording(fault, language)["message"]
    return [(each.line, each.column, each.code) for each in caught.value.faults]


def read(text: str) -> TableSheet:
    return read_tables(text.encode())


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16"])
def test_every_usual_way_of_writing_is_read(encoding: str, separator: str, newline: str) -> None:
    sheet = read_tables(written(ROWS, separator, newline).encode(encoding))
    assert sheet.separator == separator
    assert sheet.encoding == {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}.get(encoding, encoding)
    assert sheet.columns == ("number", "name", "section", "seats", "url")
    assert sheet.lines == (
        TableLine(line=2, number="1", name="У окна", section="Летняя веранда", seats=4),
        TableLine(
            line=3,
            number="2а",
            name='Стол "Шеф"',
            section="Зал; большой",
            url="https://ёлки.рф/t/2",
        ),
    )


@pytest.mark.parametrize(
    "head",
    [
        "number,section,seats",
        "Table_Number,HALL,Capacity",
        "№,Зал,Кол-во мест",
        "  Номер стола ,ЗОНА,«x»".replace("«x»", "Мест:"),
        "№ стола,секция,Количество мест",
    ],
)
def test_columns_are_named_in_two_languages(head: str) -> None:
    assert read(f"{head}\n7,A,2\n").lines == (TableLine(line=2, number="7", section="A", seats=2),)


def test_columns_come_in_any_order_and_others_are_told() -> None:
    sheet = read("Официант,seats,number,\nИван,2,5,\n")
    assert sheet.columns == ("seats", "number")
    assert sheet.ignored == ("Официант",)
    (line,) = sheet.lines
    assert line == TableLine(line=2, number="5", seats=2, others={"официант": "Иван"})


def test_one_column_is_enough() -> None:
    assert [line.number for line in read("номер\n1\n2\n\n3").lines] == ["1", "2", "3"]


def test_a_number_may_be_there_in_two_sections() -> None:
    assert len(read("номер;зал\n1;A\n1;B\n").lines) == 2


def test_excel_says_its_separator() -> None:
    sheet = read("sep=|\nnumber|section\n1|a,b;c\n")
    assert sheet.lines == (TableLine(line=3, number="1", section="a,b;c"),)


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    raw = 'number;name\n\n1;"на две\nстроки"\n;кто\n'
    assert faults(raw) == [(5, "number", "number_missing")]
    assert read('number;name\n1;"на две\nстроки"\n').lines[0].name == "на две строки"


def test_all_that_is_wrong_is_told_at_once() -> None:
    raw = (
        "номер;зал;мест;ссылка;uuid\n"
        "1;A;четыре;ftp://x;\n"
        ";B;2;;\n"
        "2;C;-1;https://x y;1234\n"
        "2;D;2;;\n"
        "3;E;2;;;лишнее\n"
        "4,F\n"
        f"{'9' * 41};;;;\n"
        "5;\x07;;;\n"
        "2;D;;;\n"
    )
    assert faults(raw) == [
        (2, "seats", "bad_seats"),
        (2, "url", "bad_url"),
        (3, "number", "number_missing"),
        (4, "seats", "bad_seats"),
        (4, "url", "bad_url"),
        (4, "uuid", "bad_uuid"),
        (6, "", "too_many_cells"),
        (7, "", "other_separator"),
        (8, "number", "too_long"),
        (9, "section", "bad_character"),
        (10, "number", "twice"),
    ]


def test_a_fault_says_where_and_what_to_do_in_two_languages() -> None:
    with pytest.raises(SheetRefused) as caught:
        read("номер;мест\n1;два\n")
    (fault,) = caught.value.faults
    russian, english = wording(fault, "ru"), wording(fault, "en")
    assert russian["code"] == english["code"] == "bad_seats"
    assert russian["path"] == "lines[2].seats"
    assert russian["message"] == "Строка 2, seats: «два» не число мест."
    assert english["hint"] == "Write a whole number from 0 to 1000, or nothing."


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty"),
        (b"\r\n \r\n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        ("номер;зал\n".encode(), "no_tables"),
        (b"PK\x03\x04rest", "not_csv"),
        (b"\xd0\xcf\x11\xe0rest", "not_csv"),
        (b"%PDF-1.7", "not_csv"),
        (codecs.BOM_UTF8 + b"number\n\xff\n", "bad_encoding"),
        (codecs.BOM_UTF16_LE + b"n", "bad_encoding"),
        (b'number;name\n1;"open\n2;x\n', "bad_quotes"),
        (b'number;name\n1;"a"b\n', "bad_quotes"),
        (b"1;2\n3;4\n", "no_number_column"),
        (b"number;no\n1;2\n", "column_twice"),
        (b"number" + b";x" * 60 + b"\n1\n", "too_many_columns"),
        (b"number;name\n1;" + b"x" * 200_000, "too_long"),
        (
            b"number\n" + b"".join(b"%d\n" % each for each in range(MAX_LINES + 1)),
            "too_many_lines",
        ),
        (b"\x00\x01\x02", "no_number_column"),
    ],
)
def test_what_is_no_list_of_tables_is_refused_by_name(raw: bytes, code: str) -> None:
    assert code in [found for _, _, found in faults(raw)]


def test_faults_end_with_the_hundredth() -> None:
    assert len(faults("number;seats\n" + ";x\n" * 500)) == 100


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for begun in (raw, b"number;name\n" + raw, codecs.BOM_UTF16_BE + raw):
        with contextlib.suppress(SheetRefused):
            read_tables(begun)


CELLS = st.text(
    st.sampled_from(string.ascii_letters + "ЁёЖж №\"';,|\t-."), min_size=1, max_size=12
).map(lambda text: " ".join(text.split()))


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    separator=st.sampled_from(SEPARATORS),
    encoding=st.sampled_from(["utf-8", "cp1251", "utf-16"]),
)
def test_what_is_written_is_read_again(
    rows: list[tuple[str, str]], separator: str, encoding: str
) -> None:
    numbered = [[f"{at} {number}", name] for at, (number, name) in enumerate(rows, start=1)]
    raw = written([["Номер", "Название"], *numbered], separator).encode(encoding)
    found = [(line.number, line.name or "") for line in read_tables(raw).lines]
    assert found == [(number.strip(), name) for number, name in numbered]
