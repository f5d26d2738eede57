"""When the keeper's next cycle is due, and how long outcomes wait to be written together. Moments are monotonic µs."""

from jobd.claim import ClaimUpdate
from jobd.clock import MILLISECOND

# Batching windows for outcomes: of jobs that are soon due again (or while jobs wait to be claimed), normal, longest.
BATCH_WINDOW_MIN, BATCH_WINDOW_NORMAL, BATCH_WINDOW_MAX = 10 * MILLISECOND, 25 * MILLISECOND, 50 * MILLISECOND
BATCH_WINDOW_CYCLES = 4  # the window is this multiple of the last cycle's duration, so cycles use 1/5 of the time
CLAIM_AHEAD = 250 * MILLISECOND  # claims reach this much further than the next poll
MAX_UPDATES = 2_000  # outcomes in a transaction


class CycleTimer:
    """The moment of the next requested cycle, and the batching window, which follows from how long cycles take."""

    def __init__(self) -> None:
        self.requested_at: int | None = 0  # None: no cycle is requested
        self.slowest = 0  # µs: the slowest of the recent cycles; decays by 1/8 per cycle
        self._window = BATCH_WINDOW_NORMAL

    def request(self, at: int) -> None:
        """Request a cycle at this moment, or sooner."""
        self.requested_at = at if self.requested_at is None else min(at, self.requested_at)

    def request_batched(self, now: int) -> None:
        """Request a cycle for something that may wait for a batch, such as output of a run in progress."""
        self.request(now + self._window)

    def request_for(self, outcome: ClaimUpdate, waiting: int, now: int, wall: int) -> None:
        """Request a cycle that writes this outcome, one of `waiting`. `wall` is now by the wall clock."""
        self.request(now if waiting >= MAX_UPDATES else now + self._linger(outcome, wall))

    def cycle_ended(self, began: int, ended: int, more: bool, again: bool) -> None:
        """Note a cycle. `more`: there are more jobs to claim; `again`: a cycle is needed at once.

        The window is minimal while there are more jobs to claim, because the dispatch loop then waits for the keeper.
        """
        took = ended - began
        self.requested_at = began if again else None
        self.slowest = max(took, self.slowest * 7 // 8)
        normal = max(BATCH_WINDOW_NORMAL, min(BATCH_WINDOW_CYCLES * took, BATCH_WINDOW_MAX))
        self._window = BATCH_WINDOW_MIN if more else normal

    def _linger(self, outcome: ClaimUpdate, wall: int) -> int:
        """Microseconds that this outcome may still wait for a batch. Outcomes of jobs that are soon due wait less."""
        ready, run = outcome.state.ready, outcome.run
        if ready is None or ready >= wall + CLAIM_AHEAD:
            return self._window
        age = max(0, wall - run.finished) if run is not None else 0
        return max(0, min(self._window, BATCH_WINDOW_MIN) - age)
