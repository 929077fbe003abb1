"""What a photo costs beside its provider, and how many are answered in time when too many come.

A photo's overhead is the time its booth waits less the time its provider has it. Where more come
than there are workers, those that come later wait for the first: less that wait, too. The crowd of
the overload is scaled 1 : 20: a provider of median 25 s becomes one of 1.25 s, and so does
everything else.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.bench import Bench, Row
from tests.bench.booths import Answer, arrive, queue_up, request
from tests.bench.photo_service import PASSWORD, SLOT, bare_service, jpeg, photo_service
from tests.bench.report import Line, at_least, at_most, median, quantile

OVERHEAD, OVERLOAD = "photo-overhead", "photo-overload"
PROVIDER_S = 0.5
WORKERS = 4
PARTS = ("upload", "admit", "claim", "prepare", "provider", "finalise", "answer")
SCALE = 20
WINDOW_S = 48.0
MEDIAN_S, P95_S = 25.0, 45.0
RATE = 0.25
CROWD_S = 2400.0  # before it is scaled: forty minutes
WARM_UP = 8
JUDGED = "up to 4 in flight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """How booths come."""

    name: str
    booths: int
    pause_s: float = 0.0
    """The mean; without one they come at the same moment."""

    @property
    def queues(self) -> bool:
        """More come than there are workers."""
        return self.booths > WORKERS


CROWDS = (
    Crowd(name="1 in flight", booths=1),
    Crowd(name=JUDGED, booths=4, pause_s=0.25),
    Crowd(name="4 at the same moment", booths=4),
    Crowd(name="12 at the same moment", booths=12),
)


async def overhead(bench: Bench) -> Sequence[Line]:
    """By size and photos in flight, with the split, beside the least that a service can cost."""
    lines: list[Line] = []
    compared = [crowd for crowd in CROWDS if not crowd.queues]  # the least has no workers
    for name, size, goal in (
        ("200 kB", 200_000, (5, 15)),
        ("1 MB", 1_000_000, (5, 15)),
        ("5 MB", 5_000_000, (16, 40)),
    ):
        picture = jpeg(size)
        async with photo_service(bench, picture, provider_s=PROVIDER_S) as service:
            ours = await _by_crowd(bench, service.url, picture, CROWDS)
        async with bare_service(bench, picture, provider_s=PROVIDER_S) as service:
            bare = await _by_crowd(bench, service.url, picture, compared)
        for crowd in CROWDS:
            what = f"{name}, {crowd.name}"
            lines += _split(bench, what, ours[crowd.name], queues=crowd.queues)
            if crowd in compared:
                lines += _compared(bench, what, ours[crowd.name], bare[crowd.name])
        lines += _judged(bench, name, ours[JUDGED], goal)
    return lines


async def _by_crowd(
    bench: Bench, url: str, picture: bytes, crowds: Sequence[Crowd]
) -> dict[str, list[Answer]]:
    whole = request(url, SLOT, PASSWORD, picture)
    await queue_up(url, whole, booths=WORKERS, photos=WARM_UP)
    return {
        crowd.name: await queue_up(
            url,
            whole,
            booths=crowd.booths,
            photos=bench.scaled(25 * min(crowd.booths, WORKERS), 4 * crowd.booths),
            pause_s=crowd.pause_s,
        )
        for crowd in crowds
    }


def own_ms(answer: Answer) -> float:
    """What a booth waited for us, not for its provider."""
    return answer.seconds * 1000 - answer.timing["provider"]


def _split(bench: Bench, what: str, answers: Sequence[Answer], *, queues: bool) -> list[Line]:
    _refuse_failures(answers)
    own = [own_ms(each) - (each.timing["claim"] if queues else 0) for each in answers]
    if queues:
        what += ", less claim"
    parts = {part: median([each.timing.get(part, 0.0) for each in answers]) for part in PARTS}
    split = ", ".join(f"{part} {ms:.1f}" for part, ms in parts.items())
    return [
        bench.figure(OVERHEAD, f"{what}: p50", median(own), "ms", split),
        bench.figure(OVERHEAD, f"{what}: p99", quantile(own, 0.99), "ms"),
    ]


def _compared(
    bench: Bench, what: str, ours: Sequence[Answer], bare: Sequence[Answer]
) -> list[Line]:
    _refuse_failures(bare)
    least = [own_ms(answer) for answer in bare]
    ratio = median([own_ms(answer) for answer in ours]) / median(least)
    note = f"p99 {quantile(least, 0.99):.1f} ms; ours is {ratio:.1f} times this p50"
    name = f"{what}: p50 of a bare service (store, hash, 3 queries)"
    return [bench.figure(OVERHEAD, name, median(least), "ms", note)]


def _judged(
    bench: Bench, name: str, answers: Sequence[Answer], goal: tuple[float, float]
) -> list[Line]:
    own = [own_ms(answer) for answer in answers]
    usual, worst = goal
    what = f"{name}, {JUDGED}"
    return [
        at_most(OVERHEAD, bench.device, f"{what}: p50 ≤ {usual} ms", median(own), usual),
        at_most(OVERHEAD, bench.device, f"{what}: p99 ≤ {worst} ms", quantile(own, 0.99), worst),
    ]


def _refuse_failures(answers: Sequence[Answer]) -> None:
    odd = Counter(answer.status for answer in answers if answer.status != 200)
    if odd:
        raise RuntimeError(f"not all photos were answered: {dict(odd)}")


async def overload(bench: Bench) -> Sequence[Line]:
    """The same crowd, with and without refusing what would come too late."""
    if bench.is_slow:
        return []
    found: dict[bool, Counter[int]] = {}
    for refuses_late in (False, True):
        found[refuses_late] = await _crowd(bench, refuses_late=refuses_late)
    lines: list[Line] = []
    for refuses_late, name in ((False, "plain limit"), (True, "late ones refused")):
        of = found[refuses_late]
        total = sum(of.values())
        shares = ", ".join(f"{status}: {of[status] / total:.0%}" for status in sorted(of))
        lines.append(bench.figure(OVERLOAD, f"{name}: 504", 100 * of[504] / total, "%", shares))
        hourly = of[200] / (CROWD_S / 3600)
        lines.append(bench.figure(OVERLOAD, f"{name}: photos", hourly, "/h"))
    late = 100 * found[True][504] / sum(found[True].values())
    lines += [
        at_most(OVERLOAD, bench.device, "504 ≤ 5 %", late, 5, unit="%"),
        at_least(
            OVERLOAD,
            bench.device,
            "photos ≥ 1.6 × the plain limit's",
            float(found[True][200]),
            1.6 * found[False][200],
            unit="photos",
        ),
    ]
    return lines


async def _crowd(bench: Bench, *, refuses_late: bool) -> Counter[int]:
    """The answers of forty minutes, scaled; booths come as they like (Poisson)."""
    sigma = math.log(P95_S / MEDIAN_S) / 1.645
    chance = random.Random(23)
    moments, at = [], 0.0
    while at < bench.scaled(int(CROWD_S), 120):
        moments.append(at / SCALE)
        at += chance.expovariate(RATE)
    picture = jpeg(30_000)
    async with photo_service(
        bench,
        picture,
        provider_s=MEDIAN_S / SCALE,
        sigma=sigma,
        window_s=WINDOW_S / SCALE,
        refuses_late=refuses_late,
    ) as service:
        whole = request(service.url, SLOT, PASSWORD, picture)
        await queue_up(service.url, whole, booths=4, photos=WARM_UP)  # its pace is known
        answers = await arrive(service.url, whole, moments)
    return Counter(answer.status for answer in answers)


ROWS = (
    Row(name=OVERHEAD, about="what a booth waits beside the provider", measure=overhead),
    Row(name=OVERLOAD, about="too many booths for four workers", measure=overload),
)
