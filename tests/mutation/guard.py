"""The guards of the SQL core, from guards.txt: how each is taken away, and who must notice."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from makeready.schema import sql_directory

LIST = Path(__file__).with_name("guards.txt")
HEAD = re.compile(r"## (?P<function>\w+): (?P<what>.+) \| (?P<tests>[\w ]+)")
BODY = re.compile(r"\(.*?^as \$\$.*?\$\$;$", re.DOTALL | re.MULTILINE)
FUNCTION = "create or replace function makeready."
ONE_LINE = re.compile(r"\([^$]*\$\$[^$]*\$\$;$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A piece of one function, or of one unique index, that must not be missing."""

    what: str
    """The guard, in a few words."""
    function: str
    """Name in the schema makeready."""
    old: str
    """What stands there; it must be there exactly once."""
    new: str
    """What stands there when the guard is gone."""
    tests: tuple[str, ...]
    """Files of tests/sql that must turn red, without `test_` and `.py`."""

    def mutant(self) -> str:
        """The statements that put the damaged form in its place; LookupError when stale."""
        text = definition(self.function)
        times = text.count(self.old)
        if times != 1:
            raise LookupError(f"{self.function}: {self.old!r} is there {times} times")
        damaged = text.replace(self.old, self.new)
        if not text.startswith(FUNCTION):
            damaged = f"drop index makeready.{self.function};\n{damaged}"
        return f"set role makeready_owner;\n{damaged}\nreset role;\n"


def guards() -> list[Guard]:
    """All guards of the list; ValueError for an entry that cannot be read."""
    found = []
    for block in LIST.read_text("utf-8").split("\n\n"):
        head, *lines = block.strip("\n").split("\n")
        if not head.startswith("## "):
            continue  # what the list itself says
        match = HEAD.fullmatch(head)
        if match is None:
            raise ValueError(f"{LIST.name}: {head!r} names no guard")
        found.append(
            Guard(
                what=match["what"],
                function=match["function"],
                old="\n".join(line[1:] for line in lines if line.startswith("-")),
                new="\n".join(line[1:] for line in lines if line.startswith("+")),
                tests=tuple(match["tests"].split()),
            )
        )
    return found


def definition(function: str) -> str:
    """The statement of sql/ that creates this function, or the unique index of this name."""
    begin = f"{FUNCTION}{function}("
    index = re.compile(rf"^create unique index if not exists {function} on [^;]+;$", re.MULTILINE)
    for path in sorted(sql_directory().glob("[0-9]*.sql")):
        text = path.read_text("utf-8")
        start = text.find(begin)
        if start >= 0:
            rest = text[start + len(begin) - 1 :]
            found = ONE_LINE.match(rest) or BODY.match(rest)
            if found:
                return begin[:-1] + found.group()
        found = index.search(text)
        if found:
            return found.group()
    raise LookupError(f"no function or unique index {function} in sql/")


def mutant_environment(file: Path) -> dict[str, str]:
    """The environment of a test run whose databases get the damaged function."""
    return {**os.environ, "MAKEREADY_TEST_MUTANT": str(file)}
