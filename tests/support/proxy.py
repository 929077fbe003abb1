"""A proxy between a process and its database that goes silent or cuts connections on command."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from asyncpg._testbase.fuzzer import Connection, StopServer, TCPFuzzingProxy


class Proxy(TCPFuzzingProxy):
    """asyncpg's proxy, which also knows servers that listen on a socket file."""

    loop: Any
    sock: Any
    _wait: Any

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        self._unix = ""
        if "host" in query:
            self._unix = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        super().__init__(backend_host=parts.hostname or "", backend_port=parts.port or 5432)
        self._parts = parts
        self.cuts = 0

    @property
    def dsn(self) -> str:
        """The database's URL through the proxy."""
        user = unquote(self._parts.netloc.partition("@")[0]) or "postgres"
        netloc = f"{user}@127.0.0.1:{self.listening_port}"
        return urlunsplit(self._parts._replace(netloc=netloc, query=""))

    def silence(self) -> None:
        """Nothing gets through any more, and nobody is told: a dead switch."""
        self.trigger_connectivity_loss()

    def cut(self) -> None:
        """Closes all connections; new ones are served."""
        self.cuts += 1
        self.close_all_connections()

    async def listen(self) -> None:
        """As asyncpg's, for either kind of backend."""
        while True:
            try:
                client, _ = await self._wait(self.loop.sock_accept(self.sock))
                client.setblocking(False)
                if self._unix:
                    backend = socket.socket(socket.AF_UNIX)
                    address: Any = self._unix
                else:
                    backend = socket.socket()
                    address = (self.backend_host, self.backend_port)
                backend.setblocking(False)
                await self._wait(self.loop.sock_connect(backend, address))
            except StopServer:
                break
            except OSError:
                backend.close()
                client.close()
                continue
            connection = Connection(client, backend, self)
            self.connections[connection] = self.loop.create_task(connection.handle())


@contextmanager
def proxied(dsn: str) -> Iterator[Proxy]:
    """A running proxy in front of the database."""
    proxy = Proxy(dsn)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.restore_connectivity()
        proxy.stop()
