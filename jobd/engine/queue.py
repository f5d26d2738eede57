"""The WorkQueue: a claim goes in with a moment and comes out at that moment.

It holds what this node has claimed and nothing else, so its size is bounded by what the workers can soon start,
however many jobs are stored. It knows no clock: the moment is an argument.
"""

import heapq
from collections.abc import Iterator
from itertools import chain

from jobd.claim import Claim

_Heap = list[tuple[int, int, Claim]]  # (moment, serial number, item)


MAX_STALE = 64  # items that were taken back and may still be in a heap, beside as many as are live


class WorkQueue:
    """Of the claims whose moment has come, the highest priority first, then the oldest, then the order of arrival."""

    def __init__(self) -> None:
        self._heaps: dict[int, _Heap] = {}  # by priority, the highest first
        self._live: dict[int, int] = {}  # job id → serial number; what is in a heap under another was taken back
        self._counts: dict[int, int] = {}  # by priority, of what is live
        self._serial = 0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._live

    def put(self, claim: Claim, moment: int) -> None:
        """Put `claim` in, to come out at `moment`. A job is in the queue at most once: the last one in counts."""
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
        """What `pop` would give, and its moment; else the earliest claim; None when the queue is empty."""
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
        """The earliest moment; None when the queue is empty."""
        return min((heap[0][0] for heap in self._heaps.values() if self._has_live(heap)), default=None)

    def overtaken(self, most: int) -> tuple[int, int] | None:
        """(priority, count): fewer than `most` items, `count`, have a higher priority than this one, the lowest such.

        None: the queue is empty. Any thread may ask.
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
        """The next claim whose moment has come, or None."""
        for heap in self._heaps.values():
            if self._has_live(heap) and heap[0][0] <= now:
                claim = heapq.heappop(heap)[2]
                del self._live[claim.job.id]
                self._counts[claim.state.priority] -= 1
                return claim
        return None

    def remove(self, job_id: int) -> Claim | None:
        """Remove the claim of a job before its moment; None when it is not in the queue."""
        serial = self._live.pop(job_id, None)
        if serial is None:
            return None
        claim = next(claim for _, number, claim in self._all() if number == serial)
        self._counts[claim.state.priority] -= 1
        return claim

    def take_all(self) -> list[Claim]:
        """Empty the queue."""
        claims = [claim for _, serial, claim in self._all() if self._live.get(claim.job.id) == serial]
        self._heaps.clear()
        self._live.clear()
        self._counts.clear()
        return claims

    def _all(self) -> Iterator[tuple[int, int, Claim]]:
        return chain.from_iterable(self._heaps.values())

    def _has_live(self, heap: _Heap) -> bool:
        """Whether anything is in a heap. Then a claim that was not taken back is on its top."""
        while heap:
            _, serial, claim = heap[0]
            if self._live.get(claim.job.id) == serial:
                return True
            heapq.heappop(heap)
        return False
