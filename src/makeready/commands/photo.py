"""Posts a photo to a slot as a booth does, keeps what comes back, and says where the time went.

    makeready photo slot-001 IMG_0003.JPG -o print.jpg

Without a file it is a picture of three guests. The password is INGEST_PASSWORD, or that of the
`makeready up` that runs here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from makeready.commands import booth_sample
from makeready.commands.booth import BoothAnswer, post_photo
from makeready.commands.machine import running
from makeready.commands.options import base_url
from makeready.commands.photos import PARTS
from makeready.commands.service import Client, ServiceError, new_session
from makeready.commands.table import text_table
from makeready.commands.up import service_url
from makeready.config import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("slot", metavar="SLOT", help="slot-001 to slot-015")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the photo")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to keep it")
    parser.add_argument(
        "--base-url", type=base_url, metavar="URL", help="the service (this machine's)"
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """0 when a picture came back; else prints the refusal."""
    settings = running(settings)
    if settings.ingest_password is None:
        raise ServiceError("set INGEST_PASSWORD to the password of the booths")
    photo = options.file.read_bytes() if options.file else booth_sample.photo()
    name = options.file.name if options.file else "IMG_0003.JPG"
    place = options.base_url or service_url(settings)
    answer = asyncio.run(
        _posted(place, options.slot, settings.ingest_password.reveal(), photo, name)
    )
    if answer.status != 200:
        print(f"{answer.status}: {_reason(answer)}", file=sys.stderr)
        return 1
    kind = answer.headers["Content-Type"]
    row = [f"{answer.timing.get(part, 0.0):.1f}" for part in PARTS]
    print(text_table(["milliseconds", *PARTS], [[f"{answer.seconds * 1000:.0f}", *row]]))
    output = options.output or Path(f"{options.slot}.{kind.rpartition('/')[2]}")
    output.write_bytes(answer.body)
    print(f"{output}: {kind}, {len(answer.body):,} bytes; photo {answer.headers['X-Job-Id']}")
    return 0


async def _posted(place: str, slot: str, password: str, photo: bytes, name: str) -> BoothAnswer:
    async with new_session() as session:
        client = Client(session=session, base_url=place)
        return await post_photo(client, slot, password, photo, name=name)


def _reason(answer: BoothAnswer) -> str:
    try:
        error = json.loads(answer.body)["error"]
        return f"{error['code']}: {error['message']} {json.dumps(error.get('details', {}))}"
    except (ValueError, KeyError, TypeError):
        return "no answer of this service"
