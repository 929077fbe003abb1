"""A provider that takes its time: answers each photo with the same picture after a while.

Called as `drive_provider.py PICTURE MEDIAN_S SIGMA`: the wait is log-normal, so its median is
MEDIAN_S and its 95th percentile MEDIAN_S × e^(1.645 SIGMA); SIGMA 0 is always the same. Prints the
port and serves until its input ends. `GET /seen` tells how many photos came, and how many still
had a client when they were done.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
from pathlib import Path

import uvloop
from aiohttp import web

BODY_MAX = 64 << 20
_SEED = 11


def provider(picture: bytes, median_s: float, sigma: float) -> web.Application:
    """The service."""
    chance = random.Random(_SEED)
    seen = {"came": 0, "answered": 0}

    async def change(request: web.Request) -> web.Response:
        seen["came"] += 1
        wait_s = median_s * math.exp(chance.gauss(0, sigma))
        await request.read()
        await asyncio.sleep(wait_s)
        seen["answered"] += 1
        return web.Response(body=picture, content_type="image/jpeg")

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(seen)

    app = web.Application(client_max_size=BODY_MAX, handler_args={"access_log": None})
    app.add_routes([web.post("/photos", change), web.get("/seen", tell)])
    return app


async def main(picture: Path, median_s: float, sigma: float) -> None:
    """Serves until standard input ends."""
    runner = web.AppRunner(provider(picture.read_bytes(), median_s, sigma))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
