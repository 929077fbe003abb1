"""Symbols are segno's, bit for bit, one by one and in batches (PSM-026, PSM-029)."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import segno
import segno.consts
import zxingcpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segno.encoder import mask_scores

from makeready.cards.affine import BatchEncoder
from makeready.cards.masks import GAP, Rules
from makeready.cards.modules import data_path, fixed, size_of, written_last
from makeready.cards.qr import BATCH, Batch, TooLong, encode, least_version

ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
ALPHABETS = {
    "byte": string.ascii_letters + string.punctuation,
    "alphanumeric": ALPHANUMERIC,
    "numeric": string.digits,
}
CAPACITY: Any = segno.consts.SYMBOL_CAPACITY
BLOCKS: Any = segno.consts.ECC
LINK = "https://go.example.ru/t/"


def links(count: int, start: str = LINK) -> list[str]:
    chance = random.Random(7)
    return [start + str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]


def rows_of(code: segno.QRCode) -> tuple[int, ...]:
    return tuple(int("".join(map(str, row)), 2) for row in code.matrix)


def packed(rows: Sequence[int], size: int) -> int:
    return sum(row << (size + GAP) * place for place, row in enumerate(reversed(rows)))


@pytest.mark.parametrize("level", "LMQH")
def test_a_link_is_encoded_as_segno_does_it(level: str) -> None:
    """PSM-026."""
    (link,) = links(1)

    symbol = encode(link, level=level)
    oracle = segno.make_qr(link, error=level)

    assert symbol.rows == rows_of(oracle)
    assert (symbol.version, symbol.mask) == (oracle.version, oracle.mask)
    assert (symbol.level, symbol.size) == (oracle.error, len(oracle.matrix))
    assert symbol.payload == link


def test_a_boost_raises_the_level_where_there_is_room_and_can_be_turned_off() -> None:
    assert encode("https://a.ru", level="L").level == "M"  # 14 bytes are room for 12
    assert encode("https://a.ru", level="L", boost=False).level == "L"


def test_a_link_in_capitals_takes_a_smaller_symbol_and_micro_is_never_made() -> None:
    small = "https://go.example.ru/t/018f2b6e-0c0a-7cc3-9d7b-3f1d2a4b5c6d"

    assert (encode(small).version, encode(small.upper()).version) == (4, 3)
    assert encode("1").version == 1
    assert encode("1").size == 21


def test_letters_beyond_ascii_are_utf_8_and_never_shift_jis() -> None:
    payload = "https://пример.рф/стол/№7"
    symbol = encode(payload, level="H")
    whole = symbol.size + 8
    picture = bytearray(b"\xff" * (whole * whole * 16))
    for row, bits in enumerate(symbol.rows):
        for column in range(symbol.size):
            if bits >> symbol.size - 1 - column & 1:
                for line in range(4):
                    at = ((row + 4) * 4 + line) * whole * 4 + (column + 4) * 4
                    picture[at : at + 4] = bytes(4)

    (found,) = zxingcpp.read_barcodes(memoryview(picture).cast("B", (whole * 4, whole * 4)))

    assert found.text == payload
    assert symbol.rows == rows_of(
        segno.make_qr(payload, error="H", encoding="utf-8", mode="byte", eci=False)
    )


def test_one_version_serves_the_whole_batch() -> None:
    batch = Batch([*links(12), LINK + "x" * 60, "HTTPS://A.RU/1"])

    versions = {batch.symbol(each).version for each in (*links(12), "HTTPS://A.RU/1")}

    assert versions == {batch.version} == {5}
    assert batch.symbol("HTTPS://A.RU/1").level == "H", "what is short is boosted"


def test_a_version_that_is_asked_for_is_kept_or_refused() -> None:
    assert Batch(links(2), version=9).symbol(links(1)[0]).version == 9
    with pytest.raises(TooLong) as refused:
        Batch(links(2), version=3)
    assert refused.value.version == 3
    with pytest.raises(TooLong):
        encode("x" * 3000)
    with pytest.raises(TooLong):
        least_version(["x" * 3000])


def test_what_fits_no_encoder_of_the_batch_is_encoded_alone() -> None:
    several = links(BATCH)
    batch = Batch(several)

    for each in (*several, LINK + "7", several[0].upper()):
        assert batch.symbol(each) == encode(each, version=batch.version)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(ALPHABETS)),
    st.sampled_from("LMQH"),
    st.integers(1, 12),
    st.data(),
)
def test_a_batch_is_segnos_bit_for_bit_with_the_mask_that_segno_chooses(
    mode: str, level: str, version: int, data: st.DataObject
) -> None:
    """The oracle is segno as anybody would call it, with a text and all choices its own."""
    length = data.draw(st.integers(1, max(1, _room(version, level) // 10)))
    texts = st.text(ALPHABETS[mode], min_size=length, max_size=length)
    several = [data.draw(texts) for _ in range(2)]
    version = max(version, least_version(several, level))
    batch = Batch([several[0]] * BATCH, level=level, version=version)
    batch.symbol(several[0])

    symbol = batch.symbol(several[1])
    oracle = segno.make_qr(several[1], error=level, version=version)

    assert symbol.rows == rows_of(oracle)
    assert (symbol.mask, symbol.level) == (oracle.mask, oracle.error)


@pytest.mark.parametrize("level", "LMQH")
def test_each_version_spreads_its_bits_as_segno_does(level: str) -> None:
    chance = random.Random(level)
    for version in range(1 + "LMQH".index(level), 41, 4):
        mode = sorted(ALPHABETS)[version % 3]
        length = _room(version, level) // {"byte": 8, "alphanumeric": 6, "numeric": 4}[mode]
        several = ["".join(chance.choices(ALPHABETS[mode], k=length)).encode() for _ in "12"]
        encoder = BatchEncoder(several[0], mode, level, version, mask=version % 8)

        mask, rows = encoder.encode(several[1])

        oracle = segno.make_qr(
            several[1],
            error=level,
            version=version,
            mode=mode,
            mask=version % 8,
            boost_error=False,
        )
        assert (mask, rows) == (version % 8, rows_of(oracle)), (version, mode)


def _room(version: int, level: str) -> int:
    """Bits that surely hold data."""
    return int(CAPACITY[version][segno.consts.ERROR_MAPPING[level]]) - 20


LINES = st.lists(
    st.sampled_from(
        ["1011101", "0000", "00000", "11111", "10111011101", "1", "0", "1011101011101"]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 7), st.lists(LINES, min_size=1, max_size=4), st.integers(0, 2**32))
def test_masks_are_judged_as_segno_judges_them(version: int, few: list[str], seed: int) -> None:
    """Lines full of what the rules look for, not just symbols that occur."""
    size = size_of(version)
    chance = random.Random(seed)
    lines = [
        "".join(chance.choices([*few, "0", "1"], k=size)).ljust(size, "0")[:size]
        for _ in range(size)
    ]
    if chance.random() < 0.5:
        lines = ["".join(column) for column in zip(*lines, strict=True)]
    matrix = [bytearray(map(int, line)) for line in lines]

    penalty = Rules(size).penalty(packed([int(line, 2) for line in lines], size))

    assert penalty == sum(mask_scores(matrix, size, size))


@pytest.mark.parametrize("version", range(1, 41))
def test_all_modules_are_spoken_for_once(version: int) -> None:
    size = size_of(version)
    path = list(data_path(size))

    assert len(set(path)) == len(path)
    assert not set(path) & (fixed(size) | written_last(size))
    assert len(path) + len(fixed(size) | written_last(size)) == size * size
    capacity = sum(each.num_blocks * each.num_total for each in BLOCKS[version][0])
    assert 0 <= len(path) - capacity * 8 < 8


def test_a_payload_of_another_length_is_no_part_of_a_batch() -> None:
    encoder = BatchEncoder(b"abc", "byte", "M", 1)

    with pytest.raises(ValueError, match="4 bytes, not 3"):
        encoder.encode(b"abcd")


def test_what_is_remembered_of_a_length_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    several = links(30)
    batch = Batch(several)
    expected = [batch.symbol(each) for each in several]
    (encoder,) = batch._encoders.values()
    assert encoder is not None
    encoder._flips.clear()
    monkeypatch.setattr(encoder._flips, "_most", 3)

    assert [batch.symbol(each) for each in several] == expected
    assert len(encoder._flips) <= 3


def test_the_same_links_make_the_same_symbols_in_any_order() -> None:
    """PSM-029."""
    several = links(20)
    one, two = Batch(several), Batch(several[::-1])

    assert [one.symbol(each) for each in several] == [two.symbol(each) for each in several[::-1]][
        ::-1
    ]
