"""Waits for a requested run until it has ended, or until it is certain that it will not start.

jobd.view.state.reason decides why a job does not run. This file decides how long to wait: a reason that needs a user's
action ends the wait, and a temporary reason is reported once.
"""

from collections.abc import Callable

from jobd.cli import print_remark
from jobd.cli.context import Context
from jobd.clock import MILLISECOND, SECOND, SystemClock
from jobd.engine.lease import Watch
from jobd.errors import DatabaseUnavailable, JobdError
from jobd.job import LOST
from jobd.lifecycle import UNRESOLVED_PAUSE
from jobd.printable import escape
from jobd.store.reads import JobOverview, NodeSummary, RecordedRun
from jobd.view.state import Why, reason, with_state

CHECK_INTERVAL = 50 * MILLISECOND  # between checks of the run
NODE_CHECK_INTERVAL = 500 * MILLISECOND  # between checks of the reason why it does not end
REPORT_AFTER = 2 * SECOND  # a temporary reason is reported only after this time


class Waiter:
    """Waits for run `number` of a job, and for the run that replaces it if it is lost with its node."""

    def __init__(self, context: Context, job_id: int, number: int, sleep: Callable[[float], None]) -> None:
        self._context = context
        self._job_id = job_id
        self._number = number
        self._sleep = sleep
        self._clock = SystemClock()
        self._watch = Watch(context.settings.lease)
        self._since = self._clock.monotonic()
        self._invalid_since: int | None = None
        self._reported = ""

    def run(self, show: Callable[[RecordedRun], None]) -> RecordedRun:
        """Wait for the end of the run and return it. `show` gets it and each lost run before it.

        Raises JobdError if the run will not start or not end.
        """
        reader, check_at = self._context.reader, 0
        try:
            while True:
                overview = reader.job_of(self._job_id)
                ended = reader.run(self._job_id, self._number)
                if ended is not None:
                    show(ended)
                    if ended.run.outcome != LOST or overview is None or overview.state is None:
                        return ended
                    self._number += 1
                    continue
                if self._clock.monotonic() >= check_at:
                    self._check_nodes(overview)
                    check_at = self._clock.monotonic() + NODE_CHECK_INTERVAL
                self._sleep(CHECK_INTERVAL / SECOND)
        except DatabaseUnavailable as error:
            error.stored = self._requested
            raise

    def _check_nodes(self, overview: JobOverview | None) -> None:
        """Raise JobdError if the run will not start or not end."""
        if overview is None:
            raise JobdError("the job's row is gone, and the requested run with it")
        name, state, now = overview.job.name, overview.state, self._context.now()
        if state is not None and state.number > self._number and self._context.reader.run(self._job_id, self._number):
            return  # it has ended since the last read
        if state is not None and (state.number > self._number or not self._is_requested(overview)):
            raise JobdError(f"run {self._number} of {escape(name)} was dropped: {_dropped(overview)}")
        nodes = self._living()
        why = reason(with_state(overview, now, self._context.zone), nodes, now)
        if why is None:
            return
        if why.stuck and not self._may_pass(overview, nodes):
            raise JobdError(f"{escape(name)} does not run: {why.text}", self._still(overview))
        self._report(name, why)

    def _is_requested(self, overview: JobOverview) -> bool:
        """Whether the job's current run is the requested one, or may become it."""
        state = overview.state
        if state is None or state.node or state.error or overview.job.deleted:
            return True
        return state.ready is not None

    def _living(self) -> list[NodeSummary]:
        """The nodes without those whose heartbeat has stood still for a lease, since this object watches them."""
        asked = self._clock.monotonic()
        nodes = self._context.nodes()
        dead = self._watch.observe(asked, self._clock.monotonic(), [(node.id, node.heartbeat) for node in nodes])
        return [node for node in nodes if node.id not in dead]

    def _may_pass(self, overview: JobOverview, nodes: list[NodeSummary]) -> bool:
        """Whether another node may still find a task that one node did not find."""
        state = overview.state
        unresolved = state is not None and state.error is not None and state.ready is not None
        now = self._clock.monotonic()
        if not unresolved or len(nodes) < 2:
            self._invalid_since = None
            return False
        self._invalid_since = self._invalid_since or now
        return now - self._invalid_since < 2 * UNRESOLVED_PAUSE

    def _report(self, name: str, why: Why) -> None:
        if why.text != self._reported and self._clock.monotonic() - self._since >= REPORT_AFTER:
            self._reported = why.text
            print_remark(f"{name} waits: {why.text}")

    def _still(self, overview: JobOverview) -> str:
        if overview.job.deleted:
            return f"run {self._number} was dropped with it"
        return self._requested

    @property
    def _requested(self) -> str:
        return f"run {self._number} is still requested"


def _dropped(overview: JobOverview) -> str:
    return "the job was changed" if overview.state is not None else "its row of the table `schedule` is gone"
