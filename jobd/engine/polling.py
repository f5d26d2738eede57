"""When the keeper polls the database, and what its last cycle has seen of the jobs that no node has claimed.

A poll runs a cycle only if it may find work. Moments are monotonic µs, if nothing else is said.
"""

from collections.abc import Callable, Mapping

from jobd.engine.cycle_timer import CLAIM_AHEAD


class Polling:
    """The times of the next poll and of the next look at the other nodes."""

    def __init__(self) -> None:
        self.next_at = 0
        self.priorities: dict[str, tuple[int, ...]] = {}  # by pool, of its unclaimed jobs
        self._peers_at = 0
        self._next_ready: dict[str, int | None] = {}  # by pool: when its next unclaimed job is ready, wall-clock µs
        self._changes_left = True  # the table job_change may contain changes

    def finds_work(self, now: int, pause: int, until: int, alone: bool, changed: Callable[[], bool]) -> bool:
        """Poll, if it is time; whether a cycle may have work to do. The next poll comes after `pause` µs.

        `until` (wall-clock µs): jobs that are ready by then may be claimed. `alone`: no other node exists. `changed`
        asks the database whether another program has written to it. It is called only if nothing else says that there
        is work.
        """
        if now < self.next_at:
            return False
        self.next_at = now + pause
        ready = any(moment is not None and moment <= until for moment in self._next_ready.values())
        return self._changes_left or not alone or ready or changed()

    def urgent_by(self, now: int, wall: int) -> int:
        """Jobs that are ready by this moment (wall-clock µs) cannot wait for the next poll. `wall` is now."""
        return wall + max(0, self.next_at - now) + CLAIM_AHEAD

    def cycle_ended(
        self,
        next_ready: Mapping[str, int | None],
        priorities: Mapping[str, tuple[int, ...]],
        changes_left: bool,
    ) -> None:
        """Note what a cycle has seen: by pool, the next ready time (wall-clock µs) and the priorities."""
        self._next_ready.update(next_ready)
        self.priorities.update(priorities)
        self._changes_left = changes_left

    def cycle_failed(self) -> None:
        """Note that a cycle has failed, so that it is unknown what is in the table."""
        self._changes_left = True

    # The other nodes

    def peers_due(self, now: int) -> bool:
        """Whether the next cycle reads the other nodes."""
        return now >= self._peers_at

    def check_peers(self, now: int) -> None:
        """Have the next cycle read the other nodes."""
        self._peers_at = now

    def peers_read(self, now: int, pause: int) -> None:
        """Note a cycle that has read the other nodes. It counts as a poll.

        The next poll comes together with the next look at them: a poll shortly before that would delay it by another
        poll, and a takeover with it.
        """
        self.next_at = self._peers_at = now + pause
