"""A connection to PostgreSQL each of whose calls ends, also when the server or the way there is lost.

The server's own statement_timeout ends no COMMIT that waits for a standby, and nothing at all when the server is frozen
or its answer is lost. (tcp_user_timeout sees only what the other machine's kernel has not received.)
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg

DEADLINE = 12.0  # seconds for a call: more than the server gives itself, so that its own words are heard first


class Connection(psycopg.Connection[Any]):
    """A connection whose calls raise OperationalError after DEADLINE. It is of no more use then."""

    def wait(self, gen: Any, *interval: Any, **keywords: Any) -> Any:
        return super().wait(_ended(gen), *interval, **keywords)


def _ended(call: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """`call`, which psycopg resumes ten times a second while nothing comes, until the deadline.

    (The parameter `timeout` of psycopg's own wait is not in all its versions.)
    """
    give_up = time.monotonic() + DEADLINE
    try:
        state = next(call)
        while True:
            ready = yield state
            if not ready and time.monotonic() > give_up:
                raise psycopg.OperationalError(f"the server has not answered for {DEADLINE:g} s")
            state = call.send(ready)
    except StopIteration as end:
        return end.value
