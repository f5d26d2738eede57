"""The memory budget for the output, results and errors of runs: one count and one limit for all pools.

    output of runs in progress ──▶ parts and outcomes that wait ──▶ database
         (printing)                       (waiting)        └──▶ spool, while the database is away

Data counts from its arrival from a worker until it is in the database, or in the spool only. If it arrives faster than
the database takes it, the daemon reacts in this order:

    half of the limit waits         no more claims, output stays with its run, outcomes move from memory to the spool
                                    (during an outage)
    three quarters are in use       output is dropped, and a notice in the run's output says how much
    all is in use                   no run starts until there is room

An outcome is never dropped. Outcomes of the runs that are then in progress may exceed the limit.
"""

import sys
import threading
from collections.abc import Iterable

from jobd.claim import ClaimUpdate, OutputPart
from jobd.clock import MINUTE
from jobd.store.output import PART

LIMIT = 32 * 2**20  # bytes: the output of some hundred runs by default, and as much as an idle daemon uses
MAX_RUN_WAITING = 2**20  # bytes of all waiting attempts of one run
OUTCOME_OVERHEAD = 1_000  # bytes of an outcome without its texts, measured


class Budget:
    """The bytes in use. `limit` is in bytes."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.waiting = 0  # bytes that wait for the database
        self.printing = 0  # bytes of output of runs in progress; only the dispatch loop changes this
        self._lock = threading.Lock()
        self._dropped = 0  # bytes of dropped output that were not logged yet
        self._next_notice_at = 0  # monotonic µs

    def add_waiting(self, size: int) -> None:
        """Add `size` bytes (negative: subtract) to those that wait for the database. Any thread may call this."""
        with self._lock:
            self.waiting += size

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self.waiting + self.printing

    @property
    def calm(self) -> bool:
        """Whether less than half of the limit waits for the database."""
        return 2 * self.waiting < self.limit

    @property
    def crowded(self) -> bool:
        """Whether more than three quarters of the limit are in use, so that output must be dropped."""
        return 4 * self.used > 3 * self.limit

    @property
    def full(self) -> bool:
        """Whether the limit is reached, so that no run may start."""
        return self.waiting + self.printing >= self.limit

    def count_dropped(self, size: int) -> None:
        """Count `size` bytes of dropped output. Any thread may call this."""
        if size:
            with self._lock:
                self._dropped += size

    def dropped_notice(self, now: int) -> str | None:
        """A warning about newly dropped output, or None; at most one per minute. `now` is monotonic µs."""
        if not self._dropped or now < self._next_notice_at:
            return None
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        self._next_notice_at = now + MINUTE
        used, most = round(self.used / 2**20), round(self.limit / 2**20)
        return (
            f"{dropped:,} bytes of the output of runs were dropped: too much waits for the database"
            f" ({used} MiB; at most {most}, and {MAX_RUN_WAITING // 2**20} of one run)"
        )


def weight(one: ClaimUpdate) -> int:
    """The bytes of memory that an outcome takes."""
    size = OUTCOME_OVERHEAD
    if (run := one.run) is not None and (run.error or run.result):
        size += sys.getsizeof(run.error) + sys.getsizeof(run.result)
    if one.state.error:
        size += sys.getsizeof(one.state.error)
    return size + weight_of(one.output) if one.output else size


def weight_of(parts: Iterable[OutputPart]) -> int:
    """The bytes of memory that output parts take."""
    return sum(PART + sys.getsizeof(part.text) for part in parts)
