"""The commands of `makeready`: the only place that wires processes together."""

from __future__ import annotations

INTERRUPTED = 130  # what a shell reports for a process ended by SIGINT
