"""Looks after the accounts of staff, who sign in by POST /api/login.

    makeready staff add anna --role admin            asks for a password
    makeready staff add anna --role admin --generate makes one and prints it, this once
    makeready staff password anna                    also ends all log-ins of the account
    makeready staff role anna viewer
    makeready staff disable anna
    makeready staff enable anna
    makeready staff list

The password is asked for on a terminal; otherwise the first line of standard input is it.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys

import asyncpg

from makeready import passwords, staff
from makeready.commands.faults import database_told
from makeready.commands.machine import machine
from makeready.commands.migrate import connected
from makeready.commands.table import text_table
from makeready.config import Settings
from makeready.errors import Rejected


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make an account")
    _named(add)
    add.add_argument("--role", required=True, choices=staff.ROLES, help="what it may do")
    password = actions.add_parser("password", help="give an account another password")
    _named(password)
    for one in (add, password):
        one.add_argument("--generate", action="store_true", help="make one and print it, once")
    role = actions.add_parser("role", help="give an account another role")
    _named(role)
    role.add_argument("role", choices=staff.ROLES, help="what it may do from now on")
    _named(actions.add_parser("disable", help="shut an account out at once"))
    _named(actions.add_parser("enable", help="let an account in again"))
    actions.add_parser("list", help="show all accounts")


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="3 to 64 of a-z 0-9 . _ -")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Does one thing and says what."""
    chosen = _chosen(options) if options.action in {"add", "password"} else ""
    with machine(settings, storage=False) as found, database_told(found):
        print(asyncio.run(_done(found.database_url or "", options, chosen)))
    return 0


def _chosen(options: argparse.Namespace) -> str:
    """The password: made, asked for twice, or read from standard input."""
    if options.generate:
        return passwords.generated()
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != first:
        raise Rejected("the two passwords differ")
    return first


async def _done(url: str, options: argparse.Namespace, password: str) -> str:
    async with connected(url) as db:
        if options.action == "list":
            return await _list(db)
        if options.action == "add":
            account = await staff.add(db, options.name, passwords.hashed(password), options.role)
            return _told(f"made {options.name} ({account}), {options.role}", options, password)
        account = await staff.named(db, options.name)
        if options.action == "password":
            await staff.set_password(db, account, passwords.hashed(password))
            return _told(f"changed the password of {options.name}", options, password)
        if options.action == "role":
            await staff.set_role(db, account, options.role)
            return f"{options.name} is {options.role}"
        change = staff.disable if options.action == "disable" else staff.enable
        changed = await change(db, account)
        return f"{options.name} is {options.action}d" + ("" if changed else " already")


def _told(text: str, options: argparse.Namespace, password: str) -> str:
    return f"{text}\npassword: {password}" if options.generate else text


async def _list(db: asyncpg.Connection) -> str:
    found = await staff.accounts(db, limit=1000)
    rows = [
        [
            account.name,
            account.role,
            "disabled" if account.disabled_at else "active",
            f"{account.signed_in_at:%Y-%m-%d %H:%M}" if account.signed_in_at else "never",
        ]
        for account in found
    ]
    if not rows:
        return "no account yet: `makeready staff add NAME --role admin` makes the first"
    return text_table(["name", "role", "state", "last log-in, UTC"], rows)
