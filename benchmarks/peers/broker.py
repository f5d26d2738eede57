"""A private Redis as it comes (snapshots, no append-only file), started and ended like the database servers."""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import Server, free_port


class Redis(Server):
    """A running Redis; it has one database, which each user empties."""

    def ping(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def new_database(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextlib.contextmanager
def running() -> Iterator[Redis | None]:
    """A Redis for as long as the block lasts; None where it is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="jobd-redis-"))
    port = free_port()
    broker = Redis([program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)], folder, port)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
