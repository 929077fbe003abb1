"""Enqueueing with 1, 8 and 32 clients, with wake-up, against the plain INSERT of the same row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.bench.bench import Bench, Row
from tests.bench.drivers import ours
from tests.bench.report import Line, at_least, median

CLIENTS = (1, 8, 32)
WAYS = {
    "insert": "plain INSERT of the same row",
    "enqueue": "enqueue, without wake-up",
    "wake": "enqueue, with wake-up",
}


async def measure(bench: Bench) -> Sequence[Line]:
    """Rates of one process with so many connections."""
    driver = ours()
    url = await bench.database(driver)
    seconds = bench.scaled(4, 1)
    graphile = bench.peers.get("graphile-worker")
    other = await bench.database(graphile) if graphile else None
    lines: list[Line] = []
    for clients in CLIENTS:
        rates: dict[str, list[float]] = defaultdict(list)
        wakes: list[float] = []
        for _ in range(bench.rounds):
            for how in WAYS:
                facts = await driver.act(url, "enqueue", how=how, clients=clients, seconds=seconds)
                rates[how].append(facts["jobs"] / facts["seconds"])
                if how == "wake":
                    wakes.append(facts["wakes"] / facts["seconds"])
            if other:
                facts = await driver.act(
                    other, "enqueue", how="graphile", clients=clients, seconds=seconds
                )
                rates["graphile"].append(facts["jobs"] / facts["seconds"])
        middle = {how: median(found) for how, found in rates.items()}
        named = WAYS | {"graphile": "graphile-worker's add_job (it always notifies)"}
        notes = {"wake": f"{median(wakes):,.0f} wake-ups/s"}
        of = f"{clients} client{'s' if clients > 1 else ''}"
        lines += [
            bench.figure("enqueue", f"{of}: {named[how]}", rate, "jobs/s", notes.get(how, ""))
            for how, rate in middle.items()
        ]
        goal = f"{of}, with wake-up ≥ 0.9 × plain INSERT"
        lines.append(
            at_least("enqueue", bench.device, goal, middle["wake"], 0.9 * middle["insert"])
        )
    return lines


ROWS = (
    Row(name="enqueue", about="enqueue/s at 1, 8 and 32 clients, with wake-up", measure=measure),
)
