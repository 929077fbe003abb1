"""Takes each guard of the SQL core away in turn; the tests must notice.

python -m tests.mutation             all guards, two at a time
python -m tests.mutation lease gate  those whose description or function holds one of the words
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutation.guard import Guard, guards, mutant_environment

TIMEOUT_S = 300
AT_ONCE = 2
NOTICED, MISSED = 1, 0  # what pytest returns when tests fail, and when none does


def judge(guard: Guard, folder: Path) -> str:
    """`noticed`, `SURVIVED` or what went wrong."""
    file = folder / f"{abs(hash(guard.what + guard.function))}.sql"
    try:
        file.write_text(guard.mutant(), "utf-8")
    except LookupError as error:
        return f"STALE: {error}"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider"]
    command += [f"tests/sql/test_{name}.py" for name in guard.tests]
    try:
        run = subprocess.run(
            command,
            env=mutant_environment(file),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"BROKEN: not over after {TIMEOUT_S} s"  # no test noticed: each has a timeout
    if run.returncode == NOTICED:
        # A set-up that failed proves nothing: the damaged function must load.
        if " error" in run.stdout.splitlines()[-1]:
            return f"BROKEN\n{run.stdout[-1500:]}"
        return "noticed"
    return "SURVIVED" if run.returncode == MISSED else f"BROKEN\n{run.stdout[-1500:]}"


def main(words: list[str]) -> int:
    """Judges the chosen guards; 0 when every missing one was noticed."""
    chosen = [
        guard
        for guard in guards()
        if not words or any(word in f"{guard.what} {guard.function}" for word in words)
    ]
    begin = time.monotonic()
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = pool.map(lambda guard: judge(guard, Path(folder)), chosen)
        for guard, verdict in zip(chosen, verdicts, strict=True):
            unnoticed += verdict != "noticed"
            sys.stdout.write(f"{verdict:10} {guard.function}: {guard.what}\n")
            sys.stdout.flush()
    spent = time.monotonic() - begin
    sys.stdout.write(f"{len(chosen)} guards, {unnoticed} unnoticed, {spent:.0f} s\n")
    return min(unnoticed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
