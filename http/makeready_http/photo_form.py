"""The form that a booth sends: text fields and a photo, in whatever order, read as it comes.

Nothing here waits, writes or hashes: pieces go in, what they mean is kept, bytes of the photo are
gathered for whoever writes them. Memory holds the fields, which are bounded, and those bytes. What
is wrong is kept as well, so that a password that came before it is looked at first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from makeready.pictures import SNIFFED_BYTES, safe_name, sniff, told_type
from makeready.shapes import cut
from makeready_http.form_parts import Bytes, FormParts, do_nothing
from makeready_http.problems import Problem, invalid_request

PARTS = 64
FIELD_BYTES = 64 << 10
FIELDS_BYTES = 1 << 20
NAME_LENGTH = 200
SKIPPED_BYTES = 64 << 20
"""Of files before the photo that are something else, such as its raw form."""
PASSWORD = "password"  # noqa: S105 -- the field's name

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class PhotoForm(FormParts):
    """One body; `feed` it until it is over or `problem` says why not to go on."""

    def __init__(
        self,
        boundary: bytes,
        *,
        file_fields: Sequence[str],
        media_types: Sequence[str],
        max_bytes: int,
    ) -> None:
        super().__init__(boundary)
        self.max_bytes = max_bytes
        self.problem: Problem | None = None
        self.password: str | None = None
        self.fields: dict[str, str] = {}
        """Text fields but the password; of two with one name the first."""
        self.pending: list[Bytes] = []
        """Of the photo, in pieces as they came; `taken` empties it."""
        self.pending_bytes = 0
        self.media_type: str | None = None
        """Of the photo, by its content; None until it has begun."""
        self.name = ""
        self.declared_type = ""
        self.size_bytes = 0
        self.ignored = 0
        """Files that were not used."""
        self._file_fields = tuple(file_fields)
        self._media_types = tuple(media_types)
        self._refusal: Problem | None = None
        """What is said if no photo comes: why the first file was none."""
        self._field_bytes = self._skipped = 0

    def feed(self, data: bytes) -> None:
        """Reads on, unless there is a problem."""
        if self.problem is None:
            try:
                super().feed(data)
            except Problem as problem:
                self.problem = problem

    def finish(self) -> None:
        """The body is over: raises Problem unless a photo has come whole."""
        if self.problem is not None:
            raise self.problem
        super().finish()
        if self.media_type is None:
            name = self._file_fields[0]
            raise self._refusal or invalid_request(
                f"The file {name} is missing.", field=name, reason="missing"
            )

    def taken(self) -> list[Bytes]:
        """What is pending, and is not any more."""
        pieces, self.pending, self.pending_bytes = self.pending, [], 0
        return pieces

    def unsupported(self, detected: str | None, declared: str, why: str = "") -> Problem:
        """415 for a file that is not taken here."""
        return Problem(
            "unsupported_media_type",
            f"The file cannot be used: {why}." if why else "The file is no image of these types.",
            details={
                "detected": detected,
                "mime": cut(declared),
                "allowed": list(self._media_types),
            },
        )

    def _count(self, parts: int) -> None:
        if parts > PARTS:
            text = f"The form may have {PARTS} parts."
            raise invalid_request(text, field="body", reason="too_many_parts")

    def _open(self, name: bytes, filename: bytes | None, media_type: str) -> None:
        field, declared = _text(name)[:NAME_LENGTH], media_type[:NAME_LENGTH]
        # Some libraries forget the file's name; then its type tells it from a text.
        is_typed = declared and not declared.startswith("text/")
        if filename is None and not (is_typed and field in self._file_fields):
            self._open_field(field)
        elif field in self._file_fields and self.media_type is None:
            self._open_file(_text(filename or b""), declared)
        else:
            self.ignored += 1
            self._take, self._close = self._skip, do_nothing

    def _open_field(self, name: str) -> None:
        if name == PASSWORD and self.password is not None:
            raise invalid_request("The password is there twice.", field=PASSWORD, reason="twice")
        body = bytearray()

        def take(data: Bytes) -> None:
            body.extend(data)
            self._field_bytes += len(data)
            if len(body) > FIELD_BYTES or self._field_bytes > FIELDS_BYTES:
                text = f"{cut(name)} is too long, or the fields together are."
                raise invalid_request(text, field=cut(name), reason="too_large")

        def close() -> None:
            if name == PASSWORD:
                self.password = _text(bytes(body))
            else:
                self.fields.setdefault(name, _text(bytes(body)))

        self._take, self._close = take, close

    def _open_file(self, name: str, declared: str) -> None:
        head = b""

        def take(data: Bytes) -> None:
            nonlocal head
            missing = SNIFFED_BYTES - len(head)
            head += data[:missing]
            if len(data) >= missing:
                self._decide(head, name, declared)
                self._take(data[missing:])

        def close() -> None:
            if not head:
                self.ignored += 1
                field = self._file_fields[0]
                self._refusal = self._refusal or invalid_request(
                    "The file is empty.", field=field, reason="invalid_payload"
                )
            else:
                self._decide(head, name, declared)

        self._take, self._close = take, close

    def _decide(self, head: bytes, name: str, declared: str) -> None:
        """Takes the file as the photo, or goes on to look for another."""
        found = sniff(head)
        self._close = do_nothing
        if found in self._media_types:
            self.media_type, self.declared_type, self.name = found, declared, safe_name(name)
            self._take = self._gather
        else:
            refusal = self.unsupported(told_type(head), declared)
            if declared in self._media_types:
                raise refusal  # it says of itself that it is the one
            self.ignored += 1
            self._refusal = self._refusal or refusal
            self._take = self._skip
        self._take(head)

    def _gather(self, data: Bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes > self.max_bytes:
            raise too_large(self.max_bytes, self.size_bytes)
        self.pending.append(data)
        self.pending_bytes += len(data)

    def _skip(self, data: Bytes) -> None:
        self._skipped += len(data)
        if self.media_type is None and self._skipped > SKIPPED_BYTES:
            raise self._refusal or invalid_request(
                f"The file {self._file_fields[0]} does not come.",
                field=self._file_fields[0],
                reason="missing",
            )


def too_large(max_bytes: int, received: int) -> Problem:
    """413 for a file, or for a body that cannot but hold one."""
    return Problem(
        "payload_too_large",
        f"The file may have {max_bytes} bytes.",
        details={"max_bytes": max_bytes, "received_bytes": received},
        headers={"Connection": "close"},
    )


def _text(value: bytes) -> str:
    """Whatever booths send, as what PostgreSQL can store."""
    return _UNSTORABLE.sub("\ufffd", value.decode(errors="replace"))
