"""What can be wrong with a file of tables, and how that is said, in Russian and in English."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from makeready.shapes import problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong; `wording` has its texts."""

    code: str
    line: int = 0
    """0: the file as a whole."""
    column: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


_WORDS: Mapping[str, tuple[str, str, str, str]] = {
    "empty": (
        "Файл пуст.",
        "В первой строке должны стоять названия столбцов, например «номер;зал;мест».",
        "The file is empty.",
        "Its first line has to name the columns, such as `number;section;seats`.",
    ),
    "no_tables": (
        "В файле есть названия столбцов, но нет ни одного стола.",
        "Добавьте строки со столами.",
        "The file names columns and has no table.",
        "Add lines with tables.",
    ),
    "not_csv": (
        "Это файл {kind}, а не CSV.",
        "Сохраните таблицу как «CSV UTF-8 (разделитель — запятая)».",
        "This is a file of type {kind}, not CSV.",
        "Save the sheet as «CSV UTF-8 (comma delimited)».",
    ),
    "bad_encoding": (
        "Текст повреждён: это не {encoding}, хотя файл так начинается.",
        "Сохраните файл ещё раз в UTF-8.",
        "The text is damaged: it begins as {encoding} and is not.",
        "Save the file in UTF-8 again.",
    ),
    "bad_quotes": (
        "Кавычка открыта и не закрыта, или после закрывающей кавычки стоит текст.",
        'Кавычка внутри значения в кавычках пишется дважды: "".',
        "A quotation mark is not closed, or text follows the closing one.",
        'A quotation mark inside a quoted value is written twice: "".',
    ),
    "no_number_column": (
        "Нет столбца с номером стола; в первой строке стоит: {found}.",
        "Назовите столбец «номер» или number. Другие столбцы: название, зал, мест, ссылка, uuid.",
        "No column has the tables' numbers; the first line has: {found}.",
        "Call that column `number`. Others are name, section, seats, url, uuid.",
    ),
    "column_twice": (
        "Столбец {column} есть дважды.",
        "Оставьте один.",
        "The column {column} is there twice.",
        "Leave one.",
    ),
    "too_many_columns": (
        "Столбцов больше {most}.",
        "Уберите лишние.",
        "There are more than {most} columns.",
        "Take out what is not needed.",
    ),
    "too_many_lines": (
        "Столов больше {most}.",
        "Разделите файл.",
        "There are more than {most} tables.",
        "Split the file.",
    ),
    "too_many_cells": (
        "В строке {found} значений, а столбцов {expected}.",
        "Значение с разделителем внутри берут в кавычки.",
        "The line has {found} values for {expected} columns.",
        "Put a value that holds the separator in quotation marks.",
    ),
    "other_separator": (
        "Строка разделена знаком «{found}», а первая строка другим.",
        "Во всём файле должен быть один разделитель.",
        "The line is separated by «{found}», the first line by another sign.",
        "Use one separator in the whole file.",
    ),
    "number_missing": (
        "У стола нет номера.",
        "Номер может быть любым текстом, например 12 или 12а.",
        "The table has no number.",
        "A number may be any text, such as 12 or 12a.",
    ),
    "twice": (
        "«{value}» уже есть в строке {first}.",
        "У каждого стола свой uuid, а в одном зале и свой номер.",
        "«{value}» stands in line {first} already.",
        "Every table has a uuid of its own, and in its section a number of its own.",
    ),
    "too_long": (
        "Значение длиннее {most} знаков.",
        "Сократите его.",
        "The value has more than {most} characters.",
        "Shorten it.",
    ),
    "bad_character": (
        "Знак {character} нельзя напечатать.",
        "Удалите его; если текст нечитаем, сохраните файл в UTF-8.",
        "The character {character} cannot be printed.",
        "Take it out; if the text is garbled, save the file in UTF-8.",
    ),
    "bad_seats": (
        "«{value}» не число мест.",
        "Нужно целое число от 0 до {most}, или пусто.",
        "«{value}» is no number of seats.",
        "Write a whole number from 0 to {most}, or nothing.",
    ),
    "bad_url": (
        "«{value}» не ссылка.",
        "Ссылка начинается с https:// или http://; без неё берётся общая.",
        "«{value}» is no link.",
        "A link begins with https:// or http://; without one the common link is taken.",
    ),
    "bad_uuid": (
        "«{value}» не uuid.",
        "Такой вид: 01234567-89ab-cdef-0123-456789abcdef; пусто для нового стола.",
        "«{value}» is no uuid.",
        "It looks like 01234567-89ab-cdef-0123-456789abcdef; leave it empty for a new table.",
    ),
}


def wording(fault: Fault, language: str) -> dict[str, str]:
    """A fault as the error contract has it, in Russian or English."""
    is_russian = language == "ru"
    ru_text, ru_hint, en_text, en_hint = _WORDS[fault.code]
    text, hint = (ru_text, ru_hint) if is_russian else (en_text, en_hint)
    facts = {**fault.facts, "column": fault.column}
    text, hint = text.format(**facts), hint.format(**facts)
    if fault.line:
        place = ("Строка" if is_russian else "Line") + f" {fault.line}"
        place += f", {fault.column}" if fault.column else ""
        text = f"{place}: {text}"
    steps = [f"lines[{fault.line}]"] if fault.line else []
    steps += [fault.column] if fault.column else []
    return problem(fault.code, ".".join(steps), text, hint)
