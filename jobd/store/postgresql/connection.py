"""A connection to PostgreSQL whose calls all end, even if the server or the network fails.

The server's statement_timeout does not end a COMMIT that waits for a standby, and it has no effect if the server is
frozen or its answer is lost. (tcp_user_timeout covers only data that the other machine's kernel has not received.)
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg

DEADLINE = 12.0  # seconds for a call: longer than the server's own deadline, so that its error arrives first


class Connection(psycopg.Connection[Any]):
    """A connection whose calls raise OperationalError after DEADLINE. It cannot be used after that."""

    def wait(self, gen: Any, *interval: Any, **keywords: Any) -> Any:
        return super().wait(_ended(gen), *interval, **keywords)


def _ended(call: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """`call` with a deadline. psycopg resumes it ten times a second while no answer arrives.

    (Not all versions of psycopg have the parameter `timeout` of its own wait.)
    """
    deadline = time.monotonic() + DEADLINE
    try:
        state = next(call)
        while True:
            ready = yield state
            if not ready and time.monotonic() > deadline:
                raise psycopg.OperationalError(f"the server has not answered for {DEADLINE:g} s")
            state = call.send(ready)
    except StopIteration as end:
        return end.value
