"""Prunes old runs in the background: small batches between the keeper's cycles, each of a few milliseconds.

The batch size follows from the duration of the last batch, so a slow disk or a busy server gets smaller batches. The
rest follows soon, but most of the time is left to other clients of the database.
"""

from collections.abc import Iterable
from itertools import islice

from jobd.clock import MILLISECOND, MINUTE, SECOND, Clock
from jobd.errors import JobdError
from jobd.job import Run
from jobd.settings import HistorySettings
from jobd.store import prune
from jobd.store.store import Store

TARGET_BATCH_TIME = 5 * MILLISECOND  # target duration of a batch
PAUSE_FACTOR = 3  # pause after a batch, as a multiple of its duration
FIRST_BATCH, MIN_BATCH, MAX_BATCH = 50, 10, 200  # runs per batch
SHORT_PAUSE, LONG_PAUSE = SECOND, MINUTE  # until the next batch: after a job has too many runs, and if no job has
MAX_SURPLUS_JOBS = 10_000  # remembered jobs with too many runs; further ones are noticed at their next run


class Pruner:
    """The jobs that have too many runs, and the time and size of the next batch."""

    def __init__(self, clock: Clock) -> None:
        self.next_at = clock.monotonic() + SHORT_PAUSE  # monotonic µs; the first batch waits until the start is over
        self._clock = clock
        self._size = FIRST_BATCH
        self._refused_until = 0  # monotonic µs; after a refused batch, so that it does not block other work
        self._surplus: dict[int, int] = {}  # job id → number of its newest surplus run

    def runs_ended(self, runs: Iterable[Run], history: HistorySettings) -> None:
        """Note recorded runs, and whether their jobs have too many runs now."""
        for run in runs:
            number = run.number - history.keep_per_job
            if number > 0 and (len(self._surplus) < MAX_SURPLUS_JOBS or run.job_id in self._surplus):
                self._surplus[run.job_id] = max(number, self._surplus.get(run.job_id, 0))
                self.next_at = min(self.next_at, max(self._clock.monotonic() + SHORT_PAUSE, self._refused_until))

    def step(self, store: Store, history: HistorySettings) -> None:
        """Prune one batch, if it is due. Raises JobdError."""
        began = self._clock.monotonic()
        if began < self.next_at:
            return
        size = self._size
        before = self._clock.wall() - history.keep
        some = dict(islice(self._surplus.items(), size))
        try:
            deleted = store.transact(lambda session: prune.prune(session, before, some, size))
        except JobdError:
            self.next_at = self._refused_until = began + LONG_PAUSE
            raise
        ended = self._clock.monotonic()
        took = ended - began
        if deleted < size:  # else these jobs may have more surplus runs
            for job_id, number in some.items():
                if self._surplus[job_id] == number:
                    del self._surplus[job_id]
        if took > TARGET_BATCH_TIME:
            self._size = max(MIN_BATCH, size * TARGET_BATCH_TIME // took)
        elif deleted == size and 2 * took < TARGET_BATCH_TIME:
            self._size = min(MAX_BATCH, 2 * size)
        more = deleted == size or bool(self._surplus)
        self.next_at = ended + (max(PAUSE_FACTOR * took, MILLISECOND) if more else LONG_PAUSE)
