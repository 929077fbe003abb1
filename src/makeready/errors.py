"""Every error Makeready raises on purpose, one tree.

    MakereadyError                      anything below; its text is safe to show to the caller
    ├── Forbidden                MR403  a permission or a duty is missing: `details["needs"]`
    ├── NotFound                 MR404  unknown, or not yours
    ├── Conflict                 MR409  the thing is in another state than the call needs
    ├── Gone                     MR410  it was there and retention has removed it
    ├── Rejected                 MR422  bad input: `details["problems"]` lists all of them
    ├── Busy                     MR429  a limit is reached: `details` carries open and limit
    ├── Closed                   MR503  the queue admits nothing now
    ├── LeaseLost                MR001  somebody else owns the job; drop the work
    ├── WorkerGone               MR002  this worker is not registered, stale or draining
    └── WrongIsolation           MR010  the call needs READ COMMITTED

The classes with a code are what asyncpg raises when SQL raises that SQLSTATE: asyncpg keeps a
registry of SQLSTATE classes, and a subclass that states `sqlstate` enters it. All of them live in
this module so that importing it is enough.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping


class MakereadyError(Exception):
    """Base of all errors that are part of the contract."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str = "", *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])
        self._details = dict(details or {})

    @property
    def details(self) -> dict[str, Any]:
        """Facts for the caller; SQL states them as a JSON object in DETAIL."""
        own = getattr(self, "_details", {})
        text = getattr(self, "detail", None)
        if own or not text:
            return dict(own)
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Forbidden(MakereadyError, asyncpg.PostgresError):
    """A permission is missing, or something has to be done first."""

    sqlstate = "MR403"
    code = "forbidden"


class NotFound(MakereadyError, asyncpg.PostgresError):
    """Unknown, or not yours."""

    sqlstate = "MR404"
    code = "not_found"


def unknown(code: str, **ids: object) -> NotFound:
    """What a read raises that found nothing; `code` is the public one."""
    return NotFound(details={"code": code, **{name: str(each) for name, each in ids.items()}})


class Conflict(MakereadyError, asyncpg.PostgresError):
    """The thing is in another state than the call needs."""

    sqlstate = "MR409"
    code = "conflict"


class Gone(MakereadyError, asyncpg.PostgresError):
    """It was there, and retention has removed it."""

    sqlstate = "MR410"
    code = "gone"


class Rejected(MakereadyError, asyncpg.PostgresError):
    """The input breaks a rule."""

    sqlstate = "MR422"
    code = "validation_failed"


class Busy(MakereadyError, asyncpg.PostgresError):
    """A limit is reached; try again later."""

    sqlstate = "MR429"
    code = "queue_busy"


class Closed(MakereadyError, asyncpg.PostgresError):
    """The queue admits nothing now."""

    sqlstate = "MR503"
    code = "queue_unavailable"


class LeaseLost(MakereadyError, asyncpg.PostgresError):
    """The lease is gone: the job ended or belongs to another worker."""

    sqlstate = "MR001"
    code = "lease_lost"


class WorkerGone(MakereadyError, asyncpg.PostgresError):
    """This worker is not registered, not fresh, or draining."""

    sqlstate = "MR002"
    code = "worker_gone"


class WrongIsolation(MakereadyError, asyncpg.PostgresError):
    """The call counts rows behind a lock and needs READ COMMITTED."""

    sqlstate = "MR010"
    code = "wrong_isolation"
