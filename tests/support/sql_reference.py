"""Writes docs/reference/sql.md from the comments in a database's catalog.

`make docs` runs it; a test fails while the file and the catalog differ.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

_HEAD = """# SQL reference

Generated from the catalog's comments by `make docs`; do not edit.
Every object is in the schema `makeready`. Roles are shown without their prefix `makeready_`.
A function that no role may execute is internal.
"""
_FUNCTIONS = """
select p.proname as name, pg_get_function_arguments(p.oid) as arguments,
       pg_get_function_result(p.oid) as result, obj_description(p.oid, 'pg_proc') as comment,
       array(select replace(r.rolname, 'makeready_', '')
               from aclexplode(p.proacl) a join pg_roles r on r.oid = a.grantee
              where r.rolname <> 'makeready_owner' order by 1) as roles
  from pg_proc p
 where p.pronamespace = 'makeready'::regnamespace and p.prorettype <> 'trigger'::regtype
 order by p.proname, arguments
"""
_COLUMNS = """
select c.relname as relation, c.relkind::text as kind,
       obj_description(c.oid, 'pg_class') as about,
       a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
       a.attnotnull as is_required,
       col_description(c.oid, a.attnum) as comment
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relnamespace = 'makeready'::regnamespace and c.relkind in ('r', 'p', 'v')
   and not c.relispartition
 order by c.relname, a.attnum
"""


async def reference(connection: asyncpg.Connection) -> str:
    """The whole reference as Markdown."""
    parts = [_HEAD, "\n## Functions\n"]
    parts += [_function(row) for row in await connection.fetch(_FUNCTIONS)]
    rows = await connection.fetch(_COLUMNS)
    for heading, kinds in (("Tables", "rp"), ("Views", "v")):
        parts.append(f"\n## {heading}\n")
        chosen = [row for row in rows if row["kind"] in kinds]
        for relation, columns in groupby(chosen, key=lambda row: str(row["relation"])):
            parts += _relation(relation, list(columns))
    return "".join(parts)


def _function(row: asyncpg.Record) -> str:
    roles = ", ".join(row["roles"]) or "internal"
    signature = f"{row['name']}({row['arguments']}) → {row['result']}"
    return f"\n### {row['name']}\n\n```\n{signature}\n```\n\n{row['comment']}\n\nFor: {roles}.\n"


def _relation(relation: str, columns: list[asyncpg.Record]) -> list[str]:
    head = f"\n### {relation}\n\n{columns[0]['about']}\n\n"
    if columns[0]["kind"] == "v":  # a view's columns are named after what they show
        return [head, ", ".join(f"`{column['name']}`" for column in columns) + "\n"]
    return [
        head,
        "| column | type | meaning |\n| --- | --- | --- |\n",
        *(
            f"| `{column['name']}` | {_type(column)} | {column['comment'] or ''} |\n"
            for column in columns
        ),
    ]


def _type(column: asyncpg.Record) -> str:
    return f"{column['type']}" + ("" if column["is_required"] else ", or null")
