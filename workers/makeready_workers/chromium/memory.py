"""How much memory a browser's processes hold, read from /proc; elsewhere nothing is killed.

Resident memory of each process is world-readable; the proportional share (PSS) is not when a
renderer sits in a user namespace of its own, and costs fifty times as much to read. So the sum
counts private pages: resident minus shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# What a document can blow up: its renderer, and the process that puts its PDF together.
_DOCUMENT_KINDS = (b"--type=renderer", b"--utility-sub-type=printing.mojom.PrintCompositor")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMemory:
    """One process of a browser."""

    pid: int
    resident_bytes: int
    private_bytes: int
    is_document: bool
    """Whether killing it harms one document at most."""


def tree(root: int) -> list[ProcessMemory]:
    """The browser `root` and all its descendants; empty where /proc is not to be had."""
    found = []
    for pid in _descendants(root):
        facts = _read(pid)
        if facts is not None:
            found.append(facts)
    return found


def _descendants(root: int) -> Iterator[int]:
    todo = [root]
    while todo:
        pid = todo.pop()
        yield pid
        try:
            threads = list((_PROC / str(pid) / "task").iterdir())
        except OSError:
            continue
        for thread in threads:
            try:
                text = (thread / "children").read_bytes()
            except OSError:
                continue
            todo += map(int, text.split())


def _read(pid: int) -> ProcessMemory | None:
    folder = _PROC / str(pid)
    try:
        _, resident, shared, *_ = map(int, (folder / "statm").read_bytes().split())
        arguments = (folder / "cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return ProcessMemory(
        pid=pid,
        resident_bytes=resident * _PAGE_BYTES,
        private_bytes=max(0, resident - shared) * _PAGE_BYTES,
        is_document=any(kind in arguments for kind in _DOCUMENT_KINDS),
    )
