from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from makeready.log import configure_logging, log_context, mask
from makeready.values import Secret


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:], root.level = before[0], before[1]


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_event_level_and_time(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream)
    structlog.get_logger().info("render_ok", pages=3, title="Счёт")

    [line] = _lines(stream)
    assert line.pop("ts")
    assert line == {"event": "render_ok", "level": "info", "pages": 3, "title": "Счёт"}


def test_bound_facts_ride_on_every_line_and_leave_with_their_context(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream)
    log = structlog.get_logger()
    with log_context(request_id="r-1"):
        log.info("inside")
    log.info("outside")

    assert [line.get("request_id") for line in _lines(stream)] == ["r-1", None]


def test_lines_of_other_libraries_take_the_same_form(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream)
    with log_context(job_id="j-1"):
        logging.getLogger("some.library").warning("it is %s", "late")

    [line] = _lines(stream)
    assert (line["event"], line["level"], line["job_id"]) == ("it is late", "warning", "j-1")


def test_an_exception_becomes_one_line(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream)
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("broken")

    [line] = _lines(stream)
    assert "ValueError: no" in str(line["exception"])


def test_less_severe_lines_are_left_out(stream: io.StringIO) -> None:
    configure_logging("json", "warning", stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("some.library").info("quiet")

    assert stream.getvalue() == ""


def test_pretty_lines_are_for_people(stream: io.StringIO) -> None:
    configure_logging("pretty", "info", stream)
    structlog.get_logger().info("render_ok", pages=3)

    assert "render_ok" in stream.getvalue()
    assert "pages=3" in stream.getvalue()


def test_secrets_signatures_passwords_and_bytes_never_reach_a_line(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream)
    link = "http://s3/b/k.pdf?X-Amz-Algorithm=A&X-Amz-Credential=C&X-Amz-Signature=5ec7e7"
    structlog.get_logger().info(
        "file_presigned",
        url=f"GET {link} done",
        nested={"dsn": ["postgresql://user:5ec7e7@host/db"]},
        behind="postgresql:///db?host=/run&password=5ec7e7&port=1",
        key=Secret("5ec7e7"),
        body=b"5ec7e7",
    )
    logging.getLogger("some.library").error("failed at %s", link)

    assert "5ec7e7" not in stream.getvalue()
    assert _lines(stream)[0]["url"] == "GET http://s3/b/k.pdf?*** done"


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_a_trace_is_masked_as_well(stream: io.StringIO, log_format: str) -> None:
    configure_logging(log_format, "info", stream)
    url = "postgresql://user:5ec7e7@host/db"
    try:
        raise OSError(url)
    except OSError:
        structlog.get_logger().exception("ours")
        logging.getLogger("some.library").exception("theirs")

    assert stream.getvalue().count("postgresql://user:***@host/db") == 2
    assert "5ec7e7" not in stream.getvalue()


def test_mask_keeps_what_is_harmless() -> None:
    assert mask({"n": 1, "url": "http://host/a?b=c"}) == {"n": 1, "url": "http://host/a?b=c"}
