"""An attempt that has ended, and what follows from its end."""

from collections.abc import Callable
from typing import NamedTuple

from jobd import lifecycle
from jobd.engine.worker import Execution
from jobd.job import LOST
from jobd.lifecycle import Ended
from jobd.wire import UNRESOLVED, Done


class EndedAttempt(NamedTuple):
    """An attempt that has ended, with the time of its end in µs of both clocks."""

    execution: Execution
    done: Done
    wall: int
    monotonic: int
    outdated: bool = False  # its worker used the plugins from before a reload

    def outcome(self) -> Done:
        """How it ended: as the daemon has forced it, else as the worker has reported it."""
        forced = self.execution.forced_outcome
        return self.done if forced is None else Done(*forced, None, True)

    def decision(self, zone: str, random: Callable[[], float]) -> lifecycle.Decision:
        """What follows. `zone` is the installation's; `random` returns a number from 0 to 1, for the jitter."""
        (job, state), done, started = self.execution.claim, self.outcome(), self.execution.started
        if done.outcome == UNRESOLVED and self.outdated:
            return lifecycle.Decision(lifecycle.give_back(state))
        if done.outcome == UNRESOLVED:
            return lifecycle.Decision(lifecycle.unresolved(state, done.error or "unknown task", self.wall))
        if done.outcome == LOST:
            return lifecycle.after_loss(job, state._replace(started=started), self.wall, zone, done.error or "lost")
        ended = Ended(done.outcome, started, self.wall, done.error, done.result)
        return lifecycle.after_attempt(job, state, ended, zone, random())
