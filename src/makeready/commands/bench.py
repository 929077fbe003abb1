"""Measures the queues beside other job systems, all in one run on this machine.

It needs a checkout: the drivers of peers are no part of the package. Words after `--` go on to it:
`makeready bench -- --help` lists its rows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from makeready.commands.options import behind_dashes
from makeready.config import Settings
from makeready.embedded.processes import EmbeddedError

ROOT = Path(__file__).resolve().parents[3]


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options: all of them are the measurement's."""
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- ...", help="its options")


def run(_: Settings, options: argparse.Namespace) -> int:
    """Runs the measurement in a process of its own."""
    if not (ROOT / "tests" / "bench" / "__main__.py").is_file():
        raise EmbeddedError("the measurement is run in a checkout of the sources")
    words = [sys.executable, "-m", "tests.bench", *behind_dashes(options.words)]
    return subprocess.run(words, cwd=ROOT, check=False).returncode
