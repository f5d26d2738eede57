"""The WorkQueue: a delay queue of claims, ordered by priority and ready time.

It contains only claims of this node, so its size is limited by how many runs the workers can soon start, not by the
number of stored jobs. It has no clock: the current time is an argument. Times are wall-clock µs.
"""

import heapq
from collections.abc import Iterator
from itertools import chain

from jobd.claim import Claim

_Heap = list[tuple[int, int, Claim]]  # (moment, serial number, claim)


MAX_STALE = 64  # removed claims that a heap may contain, in addition to as many as it has live ones


class WorkQueue:
    """A queue that returns ready claims by priority (highest first), then by ready time, then by order of arrival."""

    def __init__(self) -> None:
        self._heaps: dict[int, _Heap] = {}  # by priority, the highest first
        self._live: dict[int, int] = {}  # job id → serial number; heap entries with another number were removed
        self._counts: dict[int, int] = {}  # live claims by priority
        self._serial = 0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._live

    def put(self, claim: Claim, moment: int) -> None:
        """Add `claim`, to be returned from `moment` on. It replaces an older claim of the same job."""
        job_id, priority = claim.job.id, claim.state.priority
        if job_id in self._live:
            self.remove(job_id)
        self._serial = serial = self._serial + 1
        self._live[job_id] = serial
        self._counts[priority] = self._counts.get(priority, 0) + 1
        if (heap := self._heaps.get(priority)) is None:
            heap = self._heaps[priority] = []
            self._heaps = dict(sorted(self._heaps.items(), reverse=True))
        elif len(heap) > 2 * self._counts[priority] + MAX_STALE:
            heap[:] = [entry for entry in heap if self._live.get(entry[2].job.id) == entry[1]]
            heapq.heapify(heap)
        heapq.heappush(heap, (moment, serial, claim))

    def peek(self, now: int) -> tuple[int, Claim] | None:
        """The claim that `pop` would return, with its moment; else the earliest claim; None if the queue is empty."""
        earliest: tuple[int, Claim] | None = None
        for heap in self._heaps.values():
            if self._has_live(heap):
                moment, _, claim = heap[0]
                if moment <= now:
                    return moment, claim
                if earliest is None or moment < earliest[0]:
                    earliest = moment, claim
        return earliest

    def oldest(self) -> int | None:
        """The earliest moment; None if the queue is empty."""
        return min((heap[0][0] for heap in self._heaps.values() if self._has_live(heap)), default=None)

    def overtaken(self, most: int) -> tuple[int, int] | None:
        """(priority, count): the lowest priority with fewer than `most` claims of a higher one, and their `count`.

        None if the queue is empty. Any thread may call this.
        """
        ahead, found = 0, None
        for priority, count in sorted(self._counts.copy().items(), reverse=True):
            if count:
                found = priority, ahead
                ahead += count
            if ahead >= most:
                break
        return found

    def pop(self, now: int) -> Claim | None:
        """Remove and return the next ready claim, or None."""
        for heap in self._heaps.values():
            if self._has_live(heap) and heap[0][0] <= now:
                claim = heapq.heappop(heap)[2]
                del self._live[claim.job.id]
                self._counts[claim.state.priority] -= 1
                return claim
        return None

    def remove(self, job_id: int) -> Claim | None:
        """Remove and return the claim of a job; None if it is not in the queue."""
        serial = self._live.pop(job_id, None)
        if serial is None:
            return None
        claim = next(claim for _, number, claim in self._all() if number == serial)
        self._counts[claim.state.priority] -= 1
        return claim

    def take_all(self) -> list[Claim]:
        """Remove and return all claims."""
        claims = [claim for _, serial, claim in self._all() if self._live.get(claim.job.id) == serial]
        self._heaps.clear()
        self._live.clear()
        self._counts.clear()
        return claims

    def _all(self) -> Iterator[tuple[int, int, Claim]]:
        return chain.from_iterable(self._heaps.values())

    def _has_live(self, heap: _Heap) -> bool:
        """Whether a heap contains a live claim. Removed claims on its top are dropped, so a live one is on top."""
        while heap:
            _, serial, claim = heap[0]
            if self._live.get(claim.job.id) == serial:
                return True
            heapq.heappop(heap)
        return False
