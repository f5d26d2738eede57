"""How long the runs of a pool take, and what follows for its queue. Durations are µs, moments monotonic µs."""

from jobd.clock import MILLISECOND
from jobd.engine.share import MAX_READY_WAIT, max_waiting

PACE_GUESS = 20 * MILLISECOND  # the assumed duration of a run before the first has been measured
PACE_WEIGHT = 16  # the pace is a moving average; the newest run has the weight 1/16


class Pace:
    """The recent duration of runs, and the time of the last start."""

    def __init__(self) -> None:
        self.duration = PACE_GUESS
        self._started_at = 0

    def started(self, now: int) -> None:
        """Note the start of a run."""
        self._started_at = now

    def ended(self, duration: int) -> None:
        """Note the end of a run."""
        self.duration += (duration - self.duration) // PACE_WEIGHT

    def stands_still(self) -> None:
        """Note that the runs in progress take at least MAX_READY_WAIT: claims have waited so long for a worker."""
        self.duration = max(self.duration, MAX_READY_WAIT)

    def runs_within(self, horizon: int, workers: int) -> int:
        """How many runs so many workers can start within `horizon`, at least 2 each."""
        return max(2 * workers, workers * horizon // max(self.duration, 1))

    def max_waiting(self, workers: int, now: int) -> int:
        """How many ready claims may wait for one of `workers`, all busy, while other nodes serve the pool."""
        return max_waiting(workers, self.duration, now - self._started_at)
