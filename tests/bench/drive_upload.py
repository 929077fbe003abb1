"""Takes one large upload in one of two ways; a process of its own, since memory is a process's.

Called as `drive_upload.py ours|form FOLDER`. Prints its port, serves `POST /` and `GET /health`
on a loop like the service's until its input ends. `ours` is the reader of the service with its
folder of photos; `form` is `request.form()` and a copy into the folder, as most would write it.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from pathlib import Path

import uvicorn
import uvloop
from anyio import to_thread
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from makeready.media_folder import open_folder
from makeready_http.protocol import BoundedProtocol
from tests.bench.large_uploads import received


async def health(_: Request) -> Response:
    """Somebody else on the same loop."""
    return PlainTextResponse("ok")


def app_of(way: str, folder: Path) -> Starlette:
    """The service that takes it in this way."""

    async def ours(request: Request) -> Response:
        size = await received(request, await open_folder(folder))
        return PlainTextResponse(str(size))

    async def form(request: Request) -> Response:
        async with request.form() as fields:
            photo = fields["fileToUpload"]
            if not isinstance(photo, UploadFile):
                raise TypeError("no file came")
            target = folder / "copy"
            with target.open("wb") as file:
                await to_thread.run_sync(shutil.copyfileobj, photo.file, file, 1 << 20)
            size = target.stat().st_size
            target.unlink()
        return PlainTextResponse(str(size))

    endpoint = {"ours": ours, "form": form}[way]
    return Starlette(routes=[Route("/", endpoint, methods=["POST"]), Route("/health", health)])


async def main(way: str, folder: Path) -> None:
    """Serves until standard input ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            app_of(way, folder), http=BoundedProtocol, ws="none", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], Path(sys.argv[2])))
