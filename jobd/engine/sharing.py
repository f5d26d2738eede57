"""What this node leaves to the other nodes that serve its pools, and how soon it looks again (see jobd.engine.share).

Moments are µs by the wall clock, except `last_call_at`.
"""

from collections.abc import Iterable, Mapping

from jobd.claim import ClaimUpdate
from jobd.engine.claims import HeldClaims
from jobd.engine.cycle import CycleInput, CycleResult
from jobd.engine.share import Share, eager_poll, last_call, recheck_at
from jobd.lifecycle import UNRESOLVED_PAUSE
from jobd.store.schedule_table import Excluded

MAX_UNKNOWN_TASKS = 1_000  # remembered jobs; limits memory


class Sharing:
    """This node's share of each pool, and the jobs that it leaves to other nodes."""

    def __init__(self) -> None:
        self.shares: Mapping[str, Share | None] = {}  # by pool; None: no other node serves it
        self.last_call_at: int | None = None  # monotonic: when to claim jobs left to other nodes that are still free
        # Jobs whose task this node does not have but other nodes may have → fencing token of the released claim.
        self.unknown_tasks: dict[int, int] = {}
        self._fruitless_polls: int | None = None  # polls in a row that brought no claims; None: it has its share

    def pools(self) -> frozenset[str]:
        """The pools that other nodes serve too."""
        return frozenset(pool for pool, share in self.shares.items() if share is not None)

    def pause(self, poll: int) -> int:
        """The µs until the next poll, where `poll` is the normal interval. A node below its share polls more often."""
        return poll if self._fruitless_polls is None else eager_poll(poll, self._fruitless_polls)

    def cycle_ended(self, work: CycleInput, result: CycleResult, held: HeldClaims, slowest: int, ahead: int) -> None:
        """Note the shares after a cycle, and when to check the jobs that were left to other nodes.

        `slowest` is the duration of a slow cycle, `ahead` by how much the wall clock is ahead of the monotonic one.
        """
        if result.shares is not None:
            self.shares = result.shares
            too_little = any(
                share is not None and held.count(pool) < share.least and pool not in result.more
                for pool, share in result.shares.items()
            )
            fruitless = self._fruitless_polls if self._fruitless_polls is not None and not result.claims else -1
            self._fruitless_polls = fruitless + 1 if too_little else None
        left = [
            moment
            for pool, moment in result.next_ready.items()
            if moment is not None and self.shares.get(pool) is not None and work.last_call_by < moment <= work.claim_by
        ]
        self.last_call_at = recheck_at(min(left), last_call(slowest)) - ahead if left else None

    # Jobs whose task this node does not have

    def release_unresolved(self, update: ClaimUpdate, wall: int) -> ClaimUpdate:
        """The update that releases a job whose task this node does not have.

        If other nodes serve the pool, the job is ready for them at once; else it is ready after UNRESOLVED_PAUSE. This
        node does not claim it again, unless no other node takes it or a user changes it.
        """
        state = update.state
        if len(self.unknown_tasks) >= MAX_UNKNOWN_TASKS:
            return update
        self.unknown_tasks[state.job_id] = update.token
        if self.shares.get(state.pool) is None:
            return update
        return update._replace(state=state._replace(ready=wall))

    def drop_unknown(self, job_ids: Iterable[int]) -> None:
        """Exclude these jobs no longer: they were changed, or claimed again, so their task may be known now."""
        if self.unknown_tasks:
            for job_id in job_ids:
                self.unknown_tasks.pop(job_id, None)

    def drop_all_unknown(self) -> None:
        """Exclude no job any longer: any task may be known now, or the remembered tokens may be outdated."""
        self.unknown_tasks.clear()

    def without_unknown(self, wall: int) -> Excluded:
        """The jobs not to claim, unless they have been ready for long."""
        return Excluded(dict(self.unknown_tasks), wall - UNRESOLVED_PAUSE)
