"""Makeready: a job system for documents and media on nothing but PostgreSQL."""

from __future__ import annotations

__version__ = "0.1.0"
