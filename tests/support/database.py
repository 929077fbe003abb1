"""Types that tests with a database share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg

Connect = Callable[..., Awaitable[asyncpg.Connection]]
"""`await connect(role=None, **options of asyncpg.connect)`: one more connection of the test."""
