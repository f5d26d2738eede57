"""Forgetting old runs in the background: small batches between the keeper's turns, each of a few milliseconds.

How many runs a batch has follows from how long the last ones took, so that a slow disk or a busy server gets smaller
ones; what is left is done soon, but most of the time belongs to the others.
"""

from collections.abc import Iterable
from itertools import islice

from jobd.clock import MILLISECOND, MINUTE, SECOND, Clock
from jobd.config import HistorySettings
from jobd.errors import JobdError
from jobd.job import Run
from jobd.store import prune
from jobd.store.store import Store

LONGEST = 5 * MILLISECOND  # that a batch is to take
REST = 3  # so many times as long as a batch took nothing is forgotten
FIRST, LEAST, MOST = 50, 10, 200  # runs in a batch
SOON, LATER = SECOND, MINUTE  # until the next look: when jobs have grown too many runs, and when nothing was found
REMEMBERED = 10_000  # jobs with too many runs; of the others it is noticed when they run again


class Pruner:
    """What there is to forget, and when."""

    def __init__(self, clock: Clock) -> None:
        self.at = clock.monotonic() + SOON  # when the next batch is due; a start has better things to do
        self._clock = clock
        self._size = FIRST
        self._refused_until = 0  # the database does not allow it, and all else goes on meanwhile
        self._surplus: dict[int, int] = {}  # job → the number up to which its runs are too many

    def ended(self, runs: Iterable[Run], history: HistorySettings) -> None:
        """These runs have been recorded: see whether their jobs have too many now."""
        for run in runs:
            number = run.number - history.keep_per_job
            if number > 0 and (len(self._surplus) < REMEMBERED or run.job_id in self._surplus):
                self._surplus[run.job_id] = max(number, self._surplus.get(run.job_id, 0))
                self.at = min(self.at, max(self._clock.monotonic() + SOON, self._refused_until))

    def step(self, store: Store, history: HistorySettings) -> None:
        """Forget one batch, if it is time."""
        began = self._clock.monotonic()
        if began < self.at:
            return
        size = self._size
        before = self._clock.wall() - history.keep
        some = dict(islice(self._surplus.items(), size))
        try:
            forgotten = store.transact(lambda session: prune.prune(session, before, some, size))
        except JobdError:
            self.at = self._refused_until = began + LATER
            raise
        ended = self._clock.monotonic()
        took = ended - began
        if forgotten < size:  # else there is more, of these jobs too
            for job_id, number in some.items():
                if self._surplus[job_id] == number:
                    del self._surplus[job_id]
        if took > LONGEST:
            self._size = max(LEAST, size * LONGEST // took)
        elif forgotten == size and 2 * took < LONGEST:
            self._size = min(MOST, 2 * size)
        more = forgotten == size or bool(self._surplus)
        self.at = ended + (max(REST * took, MILLISECOND) if more else LATER)
