"""The two disks that a row is measured on: the one that is there, and one that takes its time.

Many developers' disks acknowledge a flush in 20 µs, a cloud volume takes milliseconds; a job
system that is measured on the first only is not measured. The slow one is the same disk with a
library in front of fsync and fdatasync (slow_flush.c says why that way), compiled on the fly.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("slow_flush.c")
FLUSH_MS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A disk to measure on."""

    name: str
    flush_ms: float
    """What every flush takes at least; 0: as fast as the disk is."""
    library: Path | None = None

    def environment(self) -> dict[str, str]:
        """What a server on this disk is started with."""
        if self.library is None:
            return {}
        micros = f"{self.flush_ms * 1000:.0f}"
        return {"LD_PRELOAD": str(self.library), "MAKEREADY_BENCH_FLUSH_US": micros}


DISK = Device(name="disk as it is", flush_ms=0.0)


def slow_device() -> Device | str:
    """The disk with a slow flush, or why there is none here.

    The library lies in the folder for temporary files: the server's own user must reach it.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux":
        return "the slow flush needs Linux's LD_PRELOAD"
    if compiler is None:
        return "the slow flush needs a C compiler (apt-get install gcc libc6-dev)"
    folder = Path(tempfile.mkdtemp(prefix="makeready-bench-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "slow_flush.so"
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return f"the slow flush did not compile: {done.stderr.strip()}"
    return Device(name=f"{FLUSH_MS:.0f} ms flush", flush_ms=FLUSH_MS, library=library)


def is_memory(folder: Path) -> bool:
    """Whether a folder lies in memory: a flush there says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = subprocess.run(
        ["stat", "-f", "-c", "%T", folder],  # noqa: S607 -- wherever coreutils are
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() in {"tmpfs", "ramfs"}
