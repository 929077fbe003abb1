"""Drives Makeready for the benchmark: `python -m tests.bench.drive_makeready '{"act": …}'`.

The same shape as the programs of the peers: the connection comes from the PG* variables, one JSON
object a line on standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

import uvloop

from tests.bench import calls, enqueuing, looping

Facts = dict[str, Any]


def dsn() -> str:
    """The PG* variables as a URL, for what takes nothing else."""
    query = urlencode({"host": os.environ["PGHOST"], "port": os.environ["PGPORT"]})
    return f"postgresql://{os.environ['PGUSER']}@/{quote(os.environ['PGDATABASE'])}?{query}"


ACTS: dict[str, Callable[..., Awaitable[Facts]]] = {
    "calls": calls.drain,
    "claims": calls.claim_times,
    "drain": looping.drain,
    "enqueue": enqueuing.rate,
    "fill": calls.fill,
    "hold": looping.hold,
    "keep": looping.keep,
    "listen": looping.listen,
    "prune": calls.prune,
    "steady": calls.steady_times,
}


def main() -> None:
    """Answers the one question of the command line."""
    asked = json.loads(sys.argv[1])
    act = ACTS[asked.pop("act")]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        facts = runner.run(_answer(act, asked))
    sys.stdout.write(json.dumps(facts) + "\n")


async def _answer(act: Callable[..., Awaitable[Facts]], asked: Facts) -> Facts:
    return await act(dsn(), **asked)


if __name__ == "__main__":
    main()
