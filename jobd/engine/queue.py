"""The WorkQueue: an item goes in with a moment and comes out at that moment.

It holds what this node has claimed and nothing else, so its size is bounded by what the workers can soon start,
however many jobs are stored. It knows no clock: the moment is an argument.
"""

import heapq
from typing import NamedTuple

from jobd.job import Job, Plan


class Item(NamedTuple):
    """A claimed job: its definition as it was at the claim, and the plan to run by."""

    job: Job
    plan: Plan


class WorkQueue:
    """Items by moment; among those of one moment the higher priority first, then the order of arrival."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Item]] = []
        self._live: dict[int, int] = {}  # job id → serial number; what is in the heap under another was taken back
        self._serial = 0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._live

    def put(self, item: Item, moment: int) -> None:
        """Put `item` in, to come out at `moment`. A job is in the queue at most once: the last one in counts."""
        self._serial += 1
        self._live[item.job.id] = self._serial
        heapq.heappush(self._heap, (moment, -item.job.options.priority, self._serial, item))

    def peek(self) -> tuple[int, Item] | None:
        """The next item and its moment; None when the queue is empty."""
        self._drop_dead()
        return (self._heap[0][0], self._heap[0][3]) if self._heap else None

    def pop(self, now: int) -> Item | None:
        """The next item whose moment has come, or None."""
        self._drop_dead()
        if not self._heap or self._heap[0][0] > now:
            return None
        item = heapq.heappop(self._heap)[3]
        del self._live[item.job.id]
        return item

    def take_back(self, job_id: int) -> Item | None:
        """Remove the item of a job before its moment; None when it is not in the queue."""
        serial = self._live.pop(job_id, None)
        if serial is None:
            return None
        return next(item for _, _, number, item in self._heap if number == serial)

    def take_all(self) -> list[Item]:
        """Empty the queue."""
        items = [item for _, _, serial, item in self._heap if self._live.get(item.job.id) == serial]
        self._heap.clear()
        self._live.clear()
        return items

    def _drop_dead(self) -> None:
        while self._heap and self._live.get(self._heap[0][3].job.id) != self._heap[0][2]:
            heapq.heappop(self._heap)
