"""Forgetting old runs in the background: small batches between the keeper's cycles, each of a few milliseconds.

How many runs a batch has follows from how long the last ones took, so that a slow disk or a busy server gets smaller
ones; what is left is done soon, but most of the time belongs to the others.
"""

from collections.abc import Iterable
from itertools import islice

from jobd.clock import MILLISECOND, MINUTE, SECOND, Clock
from jobd.errors import JobdError
from jobd.job import Run
from jobd.settings import HistorySettings
from jobd.store import prune
from jobd.store.store import Store

TARGET_BATCH_TIME = 5 * MILLISECOND  # that a batch is to take
PAUSE_FACTOR = 3  # so many times as long as a batch took nothing is forgotten
FIRST_BATCH, MIN_BATCH, MAX_BATCH = 50, 10, 200  # runs in a batch
SHORT_PAUSE, LONG_PAUSE = SECOND, MINUTE  # until the next batch: when jobs have too many runs, and when none has
MAX_SURPLUS_JOBS = 10_000  # jobs with too many runs; of the others it is noticed when they run again


class Pruner:
    """What there is to forget, and when."""

    def __init__(self, clock: Clock) -> None:
        self.next_at = clock.monotonic() + SHORT_PAUSE  # when the next batch is due; a start has better things to do
        self._clock = clock
        self._size = FIRST_BATCH
        self._refused_until = 0  # the database does not allow it, and all else goes on meanwhile
        self._surplus: dict[int, int] = {}  # job → the number up to which its runs are too many

    def runs_ended(self, runs: Iterable[Run], history: HistorySettings) -> None:
        """These runs have been recorded: see whether their jobs have too many now."""
        for run in runs:
            number = run.number - history.keep_per_job
            if number > 0 and (len(self._surplus) < MAX_SURPLUS_JOBS or run.job_id in self._surplus):
                self._surplus[run.job_id] = max(number, self._surplus.get(run.job_id, 0))
                self.next_at = min(self.next_at, max(self._clock.monotonic() + SHORT_PAUSE, self._refused_until))

    def step(self, store: Store, history: HistorySettings) -> None:
        """Forget one batch, if it is time."""
        began = self._clock.monotonic()
        if began < self.next_at:
            return
        size = self._size
        before = self._clock.wall() - history.keep
        some = dict(islice(self._surplus.items(), size))
        try:
            forgotten = store.transact(lambda session: prune.prune(session, before, some, size))
        except JobdError:
            self.next_at = self._refused_until = began + LONG_PAUSE
            raise
        ended = self._clock.monotonic()
        took = ended - began
        if forgotten < size:  # else there is more, of these jobs too
            for job_id, number in some.items():
                if self._surplus[job_id] == number:
                    del self._surplus[job_id]
        if took > TARGET_BATCH_TIME:
            self._size = max(MIN_BATCH, size * TARGET_BATCH_TIME // took)
        elif forgotten == size and 2 * took < TARGET_BATCH_TIME:
            self._size = min(MAX_BATCH, 2 * size)
        more = forgotten == size or bool(self._surplus)
        self.next_at = ended + (max(PAUSE_FACTOR * took, MILLISECOND) if more else LONG_PAUSE)
