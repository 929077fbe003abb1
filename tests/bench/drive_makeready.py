"""Drives Makeready for the benchmark: `python -m tests.bench.drive_makeready '{"act": …}'`.

The same shape as the programs of the peers: the connection comes from the PG* variables, one JSON
object a line on standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any
from urllib.parse import quote, urlencode

import uvloop

from tests.bench import calls, enqueuing, looping

Facts = dict[str, Any]


def dsn() -> str:
    """The PG* variables as a URL, for what takes nothing else."""
    query = urlencode({"host": os.environ["PGHOST"], "port": os.environ["PGPORT"]})
    return f"postgresql://{os.environ['PGUSER']}@/{quote(os.environ['PGDATABASE'])}?{query}"


async def answer(asked: Facts) -> Facts:
    """Does what was asked."""
    url = dsn()
    match asked:
        case {"act": "fill", "queue": queue, "jobs": jobs}:
            return await calls.fill(url, queue, jobs)
        case {"act": "drain", "queue": queue, "tasks": tasks}:
            return await looping.drain(url, queue, tasks)
        case {"act": "calls", "queue": queue, "tasks": tasks, "batch": batch}:
            return await calls.drain(url, queue, tasks, batch)
        case {"act": "claims", "queue": queue, "jobs": jobs}:
            return {"milliseconds": await calls.claim_times(url, queue, jobs)}
        case {"act": "enqueue", "how": how, "clients": clients, "seconds": seconds}:
            return await enqueuing.rate(url, how, clients, seconds)
        case {"act": "listen", "queue": queue, "tasks": tasks}:
            return await looping.listen(url, queue, tasks)
        case {"act": "hold", "queue": queue, "tasks": tasks}:
            return await looping.hold(url, queue, tasks)
    raise SystemExit(f"unknown act {asked!r}")


def main() -> None:
    """Answers the one question of the command line."""
    asked = json.loads(sys.argv[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        facts = runner.run(answer(asked))
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
