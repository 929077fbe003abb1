"""The form of a booth, cut into pieces anywhere: read as another implementation reads it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from werkzeug.formparser import MultiPartParser

from makeready.pictures import MEDIA_TYPES
from makeready_http import photo_form
from makeready_http.photo_form import PhotoForm
from makeready_http.problems import Problem
from tests.support.pictures import BOUNDARY, CAPTURED, booth_form, field, file, form, photo

FILE_FIELDS = ("fileToUpload", "file")
HEADS = [photo(kind)[:64] for kind in ("image/jpeg", "image/png", "image/webp", "image/heic")]
OTHER = b"GIF89a" + bytes(100)
NAMES = (*FILE_FIELDS, "password", "hash", "time", "selfie", "имя", 'a "b"')

quickly = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True, kw_only=True)
class Read:
    """What came of a form."""

    form: PhotoForm
    content: bytes


def reader(
    *, media_types: Sequence[str] = MEDIA_TYPES, max_bytes: int = 1 << 20, boundary: str = BOUNDARY
) -> PhotoForm:
    return PhotoForm(
        boundary.encode(), file_fields=FILE_FIELDS, media_types=media_types, max_bytes=max_bytes
    )


def read(body: bytes, cuts: Iterable[int] = (), into: PhotoForm | None = None) -> Read:
    """Reads a body that comes in pieces; raises Problem."""
    into = into or reader()
    content = bytearray()
    borders = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for start, end in pairwise(borders):
        into.feed(body[start:end])
        content += b"".join(into.taken())
    into.finish()
    return Read(form=into, content=bytes(content))


def in_memory(*_: Any, **__: Any) -> io.BytesIO:
    return io.BytesIO()


def tried(body: bytes, cuts: Iterable[int] = ()) -> Read | tuple[str, object]:
    """What was read, or what is said instead."""
    try:
        return read(body, cuts)
    except Problem as problem:
        return problem.refusal.code, problem.refusal.details


def refusal(body: bytes, into: PhotoForm | None = None) -> tuple[str, dict[str, object]]:
    """Code and details of what is said to a form."""
    with pytest.raises(Problem) as caught:
        read(body, into=into)
    return caught.value.refusal.code, caught.value.refusal.details


def apart(parts: Sequence[bytes]) -> bytes:
    """The parts together, without a boundary in them; the line before a value ends in CRLF."""
    data, delimiter = b"".join(parts), f"--{BOUNDARY}".encode()
    while data.startswith(delimiter) or b"\r\n" + delimiter in data:
        data = data.replace(delimiter, b"")
    return data


tricky = st.lists(
    st.sampled_from(
        [b"\r\n", b"--", b"\r\n--", BOUNDARY.encode(), BOUNDARY[:-1].encode(), b"\r", b"\n", b"-"]
    )
    | st.binary(max_size=20),
    max_size=8,
).map(apart)
texts = st.builds(
    field,
    st.sampled_from([name for name in NAMES if '"' not in name and name != "password"]),
    # Hypothesis also draws from the constants of this repository: the boundary is one of them.
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(
        lambda text: apart([text.encode()]).decode()
    )
    | tricky.map(lambda data: apart([bytes(b for b in data if 0 < b < 128)]).decode("ascii")),
)
files = st.builds(
    lambda head, rest, name, media_type: file(head + rest, name=name, media_type=media_type),
    st.sampled_from([*HEADS, OTHER, b""]),
    tricky,
    st.sampled_from([*FILE_FIELDS, "extra"]),
    st.sampled_from(["image/gif", "application/octet-stream"]),
)
cuts_of = st.lists(st.integers(1, 3000), max_size=12) | st.just(list(range(1, 3000)))


@quickly
@given(st.lists(texts | files, max_size=8), cuts_of)
@example([file(HEADS[0] + b"\r\n--" + BOUNDARY[:-1].encode())], list(range(1, 3000)))
def test_ing_012_ing_016_a_form_is_read_as_others_read_it(
    parts: list[bytes], cuts: list[int]
) -> None:
    # ING-016
    body = form(*parts)
    assume(body.count(f"--{BOUNDARY}".encode()) == len(parts) + 1)  # none in what is sent
    texts_there, files_there = MultiPartParser(in_memory).parse(
        io.BytesIO(body), BOUNDARY.encode(), len(body)
    )
    candidates = [each for name in ("fileToUpload", "file") for each in files_there.getlist(name)]
    contents = [each.stream.read() for each in candidates]
    taken = [content for content in contents if content[:64] in HEADS]
    found = tried(body, cuts)
    if isinstance(found, tuple):
        assert not taken
        assert found[0] in {"unsupported_media_type", "invalid_request"}
        return
    assert found.content in taken
    assert found.form.size_bytes == len(found.content)
    assert found.form.fields == dict(texts_there.items())
    total = sum(len(files_there.getlist(name)) for name in files_there)
    assert found.form.ignored == total - 1


@quickly
@given(st.lists(texts | files, min_size=1, max_size=4), st.data())
def test_a_broken_form_is_read_or_refused_wherever_it_is_cut(
    parts: list[bytes], data: st.DataObject
) -> None:
    body = bytearray(form(*parts, file(HEADS[0])))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cuts = data.draw(cuts_of)
    found, whole = tried(bytes(body), cuts), tried(bytes(body))
    if isinstance(found, Read) and isinstance(whole, Read):
        assert found.content == whole.content
        assert found.form.fields == whole.form.fields
    else:
        assert found == whole


def test_ing_012_what_a_booth_sends_is_kept_as_it_came() -> None:
    found = read(booth_form(photo(), "secret", fields=[("eventkitesessionid", "7")])).form

    assert found.fields == {**dict(CAPTURED), "eventkitesessionid": "7"}
    assert (found.password, found.name, found.declared_type) == (
        "secret", "IMG_0003.JPG", "image/jpeg",
    )  # fmt: skip
    assert found.ignored == 0


@pytest.mark.parametrize("cuts", [(), range(1, 3000)], ids=["whole", "in bytes"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b""),
        (f"--{BOUNDARY}--\r\n".encode(), f"--{BOUNDARY}--".encode()),
        (f"--{BOUNDARY}--\r\n".encode(), f"--{BOUNDARY}--\r\n--{BOUNDARY}\r\nx".encode()),
    ],
    ids=["as it is", "no line end", "more behind it"],
)
def test_what_looks_like_a_boundary_is_told_from_one(
    old: bytes, new: bytes, cuts: Iterable[int]
) -> None:
    text = f"1\r\n--{BOUNDARY[:-1]}\r\n--{BOUNDARY}x\r\n--{BOUNDARY}-\r\n\r"
    body = form(field("a", text), file(photo())).replace(old, new)
    found = read(b"\r\n" + body, cuts)

    assert found.content == photo()
    assert found.form.fields == {"a": text}


def test_of_two_fields_with_one_name_the_first_is_kept() -> None:
    found = read(form(field("a", "1"), field("a", "2"), file(photo()))).form
    assert found.fields == {"a": "1"}


def test_what_a_database_cannot_keep_is_replaced() -> None:
    odd = field("a", "x\0y").replace(b"x", b"\xff\xfe")
    assert read(form(odd, file(photo()))).form.fields == {"a": "\ufffd\ufffd\ufffdy"}


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "image/webp", "image/heic"])
def test_ing_007_the_declared_type_is_only_a_hint(kind: str) -> None:
    found = read(form(file(photo(kind), media_type="application/octet-stream"))).form
    assert (found.media_type, found.declared_type) == (kind, "application/octet-stream")

    found = read(form(file(photo(kind), media_type="image/png"))).form
    assert found.media_type == kind


def test_ing_007_a_file_that_only_says_it_is_a_photo_is_refused_at_once() -> None:
    into = reader()
    into.feed(form(file(OTHER * 10))[:400])

    assert into.problem is not None
    assert into.problem.refusal.code == "unsupported_media_type"
    assert into.problem.refusal.details == {
        "detected": "image/gif",
        "mime": "image/jpeg",
        "allowed": list(MEDIA_TYPES),
    }


def test_ing_008_a_slot_may_take_fewer_types() -> None:
    into = reader(media_types=("image/jpeg", "image/png"))
    code, details = refusal(form(file(photo("image/heic"), media_type="image/heic")), into)

    assert code == "unsupported_media_type"
    assert details["detected"] == "image/heic"
    assert details["allowed"] == ["image/jpeg", "image/png"]


def test_ing_011_a_file_must_be_there_and_have_bytes() -> None:
    # ING-011
    missing = {"field": "fileToUpload", "reason": "missing"}
    empty = {"field": "fileToUpload", "reason": "invalid_payload"}

    assert refusal(form(field("a", "b"))) == ("invalid_request", missing)
    assert refusal(form(field("fileToUpload", "text"))) == ("invalid_request", missing)
    assert refusal(form(file(photo(), name="other"))) == ("invalid_request", missing)
    assert refusal(form(file(b""))) == ("invalid_request", empty)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        form(file(photo()))[:-4],
        form(file(photo()))[:200],
        form(field("a", "b").replace(b'name="a"', b"")),
        form(field("a", "b").replace(b"form-data", b"attachment")),
        form(field("a", "b").replace(b"Content-Disposition:", b"Content-Disposition")),
        form(field("a" * (8 << 10), "b"), file(photo())),
        form(file(photo())).replace(b"\r\n", b" " * (8 << 10), 1),
        b"preamble\r\n" + form(file(photo())),
    ],
)
def test_ing_011_a_broken_form_is_told(body: bytes) -> None:
    # ING-011
    code, details = refusal(body)
    assert (code, details) == ("invalid_request", {"field": "body", "reason": "multipart"})


def test_ing_013_the_first_file_that_can_be_used_is_and_others_are_counted() -> None:
    # ING-013
    raw = file(OTHER * 100, filename="IMG_0003.CR2", media_type="image/x-canon-cr2")
    second = file(photo("image/png"), filename="second.png", media_type="image/png")
    other = file(photo(), name="thumbnail")
    found = read(form(raw, file(b""), other, file(photo()), second, field("late", "1")))

    assert found.content == photo()
    assert (found.form.ignored, found.form.name) == (4, "IMG_0003.JPG")
    assert found.form.fields == {"late": "1"}


def test_ing_013_other_files_before_the_photo_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    # ING-013
    monkeypatch.setattr(photo_form, "SKIPPED_BYTES", 1000)
    raw = file(OTHER * 100, media_type="image/tiff")

    assert refusal(form(raw, file(photo())))[0] == "unsupported_media_type"
    assert refusal(form(file(OTHER * 100, name="other"), file(photo())))[0] == "invalid_request"
    assert read(form(file(photo()), raw)).content == photo()


def test_a_file_without_a_name_is_known_by_its_type() -> None:
    nameless = file(photo()).replace(b'; filename="IMG_0003.JPG"', b"")
    found = read(form(nameless)).form

    assert (found.media_type, found.name) == ("image/jpeg", "upload.bin")
    text = file(b"{}", name="overrides", media_type="application/json")
    typed = text.replace(b'; filename="IMG_0003.JPG"', b"")
    assert read(form(typed, file(photo()))).form.fields == {"overrides": "{}"}


def test_ing_009_a_file_over_the_limit_is_refused_where_it_passes_it() -> None:
    into = reader(max_bytes=1000)
    into.feed(form(file(photo() + bytes(2000)))[:1500])

    assert into.problem is not None
    assert into.problem.refusal.code == "payload_too_large"
    assert into.problem.refusal.details["max_bytes"] == 1000
    assert into.problem.refusal.headers["Connection"] == "close"


def test_a_file_of_exactly_the_limit_is_taken() -> None:
    assert read(form(file(photo())), into=reader(max_bytes=len(photo()))).content == photo()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([field(f"f{number}", "") for number in range(65)], "too_many_parts"),
        ([field("a", "x" * (65 << 10))], "too_large"),
        ([field(f"f{number}", "x" * (60 << 10)) for number in range(20)], "too_large"),
        ([field("password", "a"), field("password", "b")], "twice"),
    ],
)
def test_fields_are_bounded(parts: list[bytes], reason: str) -> None:
    code, details = refusal(form(*parts, file(photo())))
    assert (code, details["reason"]) == ("invalid_request", reason)


def test_a_password_before_what_is_wrong_is_there_to_be_looked_at() -> None:
    into = reader()
    into.feed(form(field("password", "p"), file(OTHER * 10)))

    assert into.password == "p"
    assert into.problem is not None
