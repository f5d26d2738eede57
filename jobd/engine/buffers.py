"""How much the daemon holds of what runs print, return and fail with: one count, and one limit for all of it.

    output of runs in progress ──▶ parts and outcomes that wait ──▶ database
         (printing)                       (waiting)        └──▶ spool, while the database is away

It counts from when it has been read from a worker until the database has it, or the spool alone. When the database
takes it more slowly than it comes, or not at all, these give way, in this order:

    half of the limit waits         nothing more is claimed, what runs print stays with them, outcomes leave the memory
                                    for the spool (while the database is away)
    three quarters are in use       output is dropped, and its place in the run's log says how much
    all is in use                   no run begins until there is room

An outcome is never dropped. Beyond the limit comes what the runs in progress then still tell and print.
"""

import sys
import threading
from collections.abc import Iterable

from jobd.claim import ClaimUpdate, OutputPart
from jobd.clock import MINUTE
from jobd.store.output import PART

LIMIT = 32 * 2**20  # bytes: the output of some hundred runs by default, and as much as a daemon takes without any
MAX_RUN_WAITING = 2**20  # bytes, of all attempts of a run that wait together
OUTCOME_OVERHEAD = 1_000  # bytes that one takes without its texts, as measured


class Budget:
    """What is in use."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.waiting = 0  # bytes to be written
        self.printing = 0  # bytes of output that runs in progress have; the dispatch loop alone changes this
        self._lock = threading.Lock()
        self._dropped = 0  # bytes of output; their loss has not been logged yet
        self._next_notice_at = 0

    def add_waiting(self, size: int) -> None:
        """So many bytes more (less, below 0) wait to be written. Any thread may say so."""
        with self._lock:
            self.waiting += size

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self.waiting + self.printing

    @property
    def calm(self) -> bool:
        """Whether little waits."""
        return 2 * self.waiting < self.limit

    @property
    def crowded(self) -> bool:
        """Whether there is no more room for output."""
        return 4 * self.used > 3 * self.limit

    @property
    def full(self) -> bool:
        """Whether there is no room for anything."""
        return self.waiting + self.printing >= self.limit

    def drop(self, size: int) -> None:
        """So many bytes of output have been dropped for want of room. Any thread may say so."""
        if size:
            with self._lock:
                self._dropped += size

    def dropped_notice(self, now: int) -> str | None:
        """What the log is to be told of that: at once, and then each minute. `now` is monotonic."""
        if not self._dropped or now < self._next_notice_at:
            return None
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        self._next_notice_at = now + MINUTE
        used, most = round(self.used / 2**20), round(self.limit / 2**20)
        return (
            f"{dropped:,} bytes of what runs printed are dropped: too much waits for the database"
            f" ({used} MiB; at most {most}, and {MAX_RUN_WAITING // 2**20} of one run)"
        )


def weight(one: ClaimUpdate) -> int:
    """How many bytes an outcome takes."""
    size = OUTCOME_OVERHEAD
    if (run := one.run) is not None and (run.error or run.result):
        size += sys.getsizeof(run.error) + sys.getsizeof(run.result)
    if one.state.error:
        size += sys.getsizeof(one.state.error)
    return size + weight_of(one.output) if one.output else size


def weight_of(parts: Iterable[OutputPart]) -> int:
    """How many bytes parts of an output take."""
    return sum(PART + sys.getsizeof(part.text) for part in parts)
