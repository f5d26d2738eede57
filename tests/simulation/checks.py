"""The invariants of every simulation, checked from outside: by the behaviour of runs and the data in the database."""

import re
from collections import defaultdict
from typing import Any, NamedTuple

from jobd.claim import DROPPED_NOTICE as DROPPED_HERE
from jobd.claim import ClaimUpdate
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.budget import weight, weight_of
from jobd.engine.engine import Engine
from jobd.engine.messages import OutputPrinted, Unresolved
from jobd.job import FAILED, LOST, MAX_COUNTER, SUCCEEDED
from jobd.lifecycle import MAX_LOSSES, UNRESOLVED_PAUSE
from jobd.wire import Order
from tests.simulation.events import Violation
from tests.simulation.fake_workers import KILL_TAKES, FakeWorker
from tests.simulation.node import EPOCH, Node
from tests.simulation.priorities import Priorities

TAKEOVER_GRACE = SECOND // 4  # beyond the lease and two polls, for the network delays to the database and back
SAME_MACHINE_LIMIT = SECOND  # for a takeover: locks are checked every 0.5 s, and a kill takes up to 0.2 s
UNTAKEN = SECOND  # two polls: at the end, a job may be ready for this long before a node claims it
THAW_GRACE = SECOND  # the runs of a frozen machine may continue for this long after it has thawed
DROPPED = re.compile(re.escape(DROPPED_HERE).replace(re.escape("{:,}"), "([0-9,]+)"))


class Began(NamedTuple):
    """A run that started."""

    job: str
    number: int
    attempt: int
    token: int
    due: int
    node: int  # the machine
    at: int


class Checks:
    """The invariants of one simulation."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.priorities = Priorities(cluster)
        self._live: dict[str, list[tuple[Began, FakeWorker]]] = defaultdict(list)
        self._tokens: dict[int, int] = {}
        self._newest: dict[str, int] = {}  # by job, the token of the newest run
        self.began: list[Began] = []
        self.ends: dict[tuple[str, int], set[str | None]] = defaultdict(set)
        # By job, number and attempt, the output of each execution: there are several if a machine was frozen.
        self._printed: dict[tuple[str, int, int], list[str]] = defaultdict(list)
        self._place: dict[FakeWorker, int] = {}  # the index in these, for the run in progress
        self.crashed_by: dict[str, int] = defaultdict(int)

    def _excused(self, fake_worker: FakeWorker) -> bool:
        """Whether one of the two documented exceptions applies.

        The machine is frozen or has just thawed. Or on_db_loss = "finish", and the node was alone when it was cut off:
        when it sees other nodes, its runs that they took over have not ended yet.
        """
        node, now = fake_worker.node, self._cluster.events.now
        alone = node.up and (
            node.engine.keeper.membership.alone() or now - node.alone_until <= KILL_TAKES + MILLISECOND
        )
        if self._cluster.settings.on_db_loss == "finish" and alone:
            return True
        return bool(node.suspended() or now - node.thawed_at <= THAW_GRACE)

    def _may_start_again(self) -> bool:
        """The documented exception: tokens that start again, after a clock was set back."""
        return bool(self._cluster.edits_tables and self._cluster.clocks_moved)

    # Called as things happen

    def started(self, fake_worker: FakeWorker, order: Order) -> None:
        """A run starts."""
        cluster, node = self._cluster, fake_worker.node
        now = cluster.events.now
        began = Began(order.job, order.number, order.attempt, order.token, order.due, node.number, now)
        cluster.trace(
            f"{order.job} #{order.number} attempt {order.attempt} begins on {node.number}, token {order.token}"
        )
        for other, its in self._live[order.job]:
            if not self._excused(its) and not self._excused(fake_worker):
                raise Violation(f"{began} overlaps {other}")
        if (
            order.token < self._newest.get(order.job, 0)
            and not self._excused(fake_worker)
            and not self._may_start_again()
        ):
            raise Violation(f"{began} has an older token than a run before it")
        self._newest[order.job] = max(self._newest.get(order.job, 0), order.token)
        self._live[order.job].append((began, fake_worker))
        printed = self._printed[order.job, order.number, order.attempt]
        self._place[fake_worker] = len(printed)
        printed.append("")
        self.began.append(began)

    def printed(self, fake_worker: FakeWorker, text: str) -> None:
        """The run in progress prints."""
        order = fake_worker.order
        assert order is not None
        self._printed[order.job, order.number, order.attempt][self._place[fake_worker]] += text

    def ended(self, fake_worker: FakeWorker, end: str | None) -> None:
        """A run ends; None: it was killed."""
        assert fake_worker.order is not None
        job = fake_worker.order.job
        self.ends[job, fake_worker.order.number].add(end)
        self._live[job] = [(began, its) for began, its in self._live[job] if its is not fake_worker]
        self._cluster.trace(f"{job} #{fake_worker.order.number} ends on {fake_worker.node.number}: {end or 'killed'}")

    def thawed(self, node: Any) -> None:
        """A machine thaws: those of its runs that other nodes have taken over must end soon."""
        self._cluster.events.after(THAW_GRACE, self.overlaps)

    def crashed(self, node: Any) -> None:
        """A daemon ends: another daemon without disturbances must take over its claims in time."""
        cluster, dead, at = self._cluster, node.engine.node, self._cluster.events.now
        within = cluster.settings.lease + 2 * cluster.settings.poll + TAKEOVER_GRACE
        # Otherwise its messages may arrive after its death, or a manual edit may make it appear again.
        if dead and node.line.is_free() and not cluster.edits_tables:
            cluster.events.after(within, lambda: self._taken_over(dead, at, cluster.nodes))
            known = at - 2 * cluster.settings.poll - TAKEOVER_GRACE
            (signed_on,) = cluster.database.rows("SELECT started_time - ? FROM node WHERE id = ?", (EPOCH, dead))[0]
            if signed_on <= known and not cluster.clocks_moved:
                others = [one for one in cluster.nodes if one is not node and one.machine == node.machine]
                near = [one for one in others if (quiet := one.undisturbed_since()) is not None and quiet <= known]
                # A frozen process of the machine holds the lock of its daemon until it thaws (decision 0014).
                freed = node.frozen_until if node.suspended() else at
                cluster.events.at(freed + SAME_MACHINE_LIMIT + TAKEOVER_GRACE, lambda: self._taken_over(dead, at, near))

    def _taken_over(self, dead: int, died_at: int, by: list[Any]) -> None:
        since = [since for node in by if (since := node.undisturbed_since()) is not None]
        held = self._cluster.database.rows("SELECT job_id FROM schedule WHERE node_id = ?", (dead,))
        if held and since and min(since) <= died_at - TAKEOVER_GRACE:
            raise Violation(f"jobs {held} are still node {dead}'s, which died at {died_at / SECOND:.1f} s")

    def overlaps(self) -> None:
        """Check that no job runs twice at this moment."""
        for live in self._live.values():
            awake = [began for began, its in live if not self._excused(its)]
            if len(awake) > 1:
                raise Violation(f"runs overlap: {awake}")

    def committed(self, by: Any) -> None:
        """A node or a user has committed a transaction."""
        if isinstance(by, Node):
            self.priorities.committed(by)
        sql = "SELECT job_id, token, node_id, stopped_time FROM schedule LEFT JOIN node ON node.id = node_id"
        for job_id, token, node, stopped in self._cluster.database.rows(sql):
            if token > MAX_COUNTER:  # a manual edit has written that
                self._tokens.pop(job_id, None)
                self._newest.clear()
                continue
            if token < self._tokens.get(job_id, 0) and not self._may_start_again():
                raise Violation(f"the token of job {job_id} went from {self._tokens[job_id]} to {token}")
            claimed = token > self._tokens.get(job_id, token)
            if claimed and stopped is not None and not self._cluster.edits_tables:
                raise Violation(f"node {node} has claimed job {job_id} after it was declared dead, or had left")
            self._tokens[job_id] = token

    # Called some time after the end of the faults

    def at_rest(self) -> None:
        """Check that every due run was done once, that nothing is stuck, and that the history is complete."""
        self._nothing_is_stuck()
        self._history_is_whole()
        self._output_is_its_own()
        self._buffers_are_counted()
        self._witnesses_missed_nothing()
        self._poison_was_stopped()

    def _nothing_is_stuck(self) -> None:
        cluster = self._cluster
        wall = EPOCH + cluster.events.now
        rowless = "SELECT name FROM job WHERE is_delete = 0 AND id NOT IN (SELECT job_id FROM schedule)"
        for (name,) in cluster.database.rows(rowless):
            raise Violation(f"{name} has no row of schedule")
        owners = {node.engine.node: node for node in cluster.nodes if node.up}
        rows = cluster.database.rows(
            "SELECT job.name, node_id, ready_time, schedule.job_id, error IS NULL FROM schedule"
            " JOIN job ON job.id = job_id"
        )
        for name, owner, ready, job_id, sound in rows:
            if not owner:
                # A run whose task no node had waits for another attempt.
                if ready is not None and ready < wall - (UNTAKEN if sound else UNTAKEN + UNRESOLVED_PAUSE):
                    raise Violation(f"{name} has been ready for {(wall - ready) / SECOND:.1f} s and nobody takes it")
            elif owner not in owners:
                raise Violation(f"{name} is claimed by node {owner}, which is no more")
            elif ready is not None and ready < wall - 4 * SECOND and not self._known(owners[owner], job_id):
                raise Violation(f"{name} is claimed by node {owner}, which knows nothing of it")

    def _known(self, node: Any, job_id: int) -> bool:
        return (
            any(
                job_id in processor.queue._live
                or any(run.execution.claim.job.id == job_id for run in processor.workers.running())
                for processor in node.engine.pools
            )
            or job_id in node.engine.keeper._pending
        )

    def _history_is_whole(self) -> None:
        cluster = self._cluster
        rows = cluster.database.rows(
            "SELECT job.name, run.number, run.due_time, attempts, outcome, error, retry_times FROM run"
            " JOIN job ON job.id = run.job_id ORDER BY job_id, run.number"
        )
        states = cluster.database.rows("SELECT name, number FROM schedule JOIN job ON job.id = job_id")
        numbers: dict[str, list[int]] = defaultdict(list)
        final: dict[tuple[str, int], str] = {}
        for name, number, due, attempts, outcome, error, retries in rows:
            numbers[name].append(number)
            if attempts > retries + 1:
                raise Violation(f"{name} #{number} had {attempts} attempts")
            if outcome == SUCCEEDED and "succeeded" not in self.ends[name, number]:
                raise Violation(f"{name} #{number} is recorded as succeeded, and never did")
            if outcome == FAILED and "SIGKILL" in error:
                raise Violation(f"{name} #{number} is recorded as failed, and was killed by its guardian")
            if outcome != LOST and name not in cluster.edited and not cluster.clocks_moved:
                if (name, due) in final:
                    raise Violation(f"{name} was finished twice for {due}: {final[name, due]} and {outcome}")
                final[name, due] = outcome
        for name, following in states:
            kept = numbers[name]
            least = min(following - 1, cluster.settings.history.keep_per_job)
            if kept != list(range(following - len(kept), following)) or len(kept) < least:
                raise Violation(f"the history of {name} has {numbers[name]}, and its next run is {following}")
        for began in self.began:
            follows = dict(states).get(began.job, 0)
            if began.number > follows:
                raise Violation(f"{began} is of a run that never was")

    def _output_is_its_own(self) -> None:
        """Check that the stored output of each attempt is its own; for a killed attempt, the beginning of it.

        Where output was dropped for lack of room, a notice must give the number of bytes.
        """
        kept: dict[tuple[str, int, int], str] = defaultdict(str)
        for *attempt, text in self._cluster.database.rows(
            "SELECT name, number, attempt, text FROM output JOIN job ON job.id = job_id"
            " ORDER BY job_id, number, attempt, part"
        ):
            kept[tuple(attempt)] += text
        for attempt, text in kept.items():
            own = "{} #{}.{} ".format(*attempt)
            if not all(line.startswith(own) for line in DROPPED.sub("", text).splitlines()):
                raise Violation(f"{attempt} is said to have printed {text!r}")
            printed = self._printed[attempt]
            if self._once_each(attempt[0]) and not any(re.match(_pattern(text), _ended(one)) for one in printed):
                raise Violation(f"{attempt} is said to have printed {text!r}, and printed {printed}")
        for name, number, attempts in self._cluster.database.rows(
            "SELECT name, number, attempts FROM run JOIN job ON job.id = job_id WHERE outcome = 'succeeded'"
        ):
            text, printed = kept[name, number, attempts], self._printed[name, number, attempts]
            if self._once_each(name) and not any(re.fullmatch(_pattern(text), _ended(one)) for one in printed):
                raise Violation(f"{name} #{number}.{attempts} printed {printed}, of which there is {text!r}")

    def _once_each(self, job: str) -> bool:
        """Whether an attempt is exactly one execution: not if its state was edited manually meanwhile."""
        return job not in self._cluster.edited and not self._cluster.edits_tables

    def _buffers_are_counted(self) -> None:
        """Check that a daemon counts correctly the buffered bytes of output and results."""
        for node in self._cluster.nodes:
            if node.up:
                engine = node.engine
                budget, held, printing = engine.budget, _held(engine), _printing(engine)
                if (budget.waiting, budget.printing) != (held, printing):
                    counted = f"{budget.waiting} and {budget.printing} bytes"
                    raise Violation(f"node {node.number} counts {counted}, not {held} and {printing}")

    def _witnesses_missed_nothing(self) -> None:
        cluster = self._cluster
        wall = EPOCH + cluster.events.now
        for name, step in cluster.witnesses.items():
            rows = cluster.database.rows(
                "SELECT due_time FROM run JOIN job ON job.id = job_id WHERE name = ? AND outcome <> 'lost'"
                " ORDER BY due_time",
                (name,),
            )
            dues = [due for (due,) in rows]
            if cluster.clocks_moved:
                continue  # due times of the last hour may come again
            if not dues or dues != list(range(dues[0], dues[0] + step * len(dues), step)):
                raise Violation(f"{name} has missed a due time: {[(due - EPOCH) / SECOND for due in dues]}")
            if wall - dues[-1] > 3 * step + 5 * SECOND:
                raise Violation(f"{name} ran last for {(wall - dues[-1]) / SECOND:.1f} s ago")
        for name in cluster.once:
            (count,) = cluster.database.rows(
                "SELECT count(*) FROM run JOIN job ON job.id = job_id WHERE name = ? AND outcome <> 'lost'", (name,)
            )[0]
            if count != 1:
                raise Violation(f"{name}, to be run once, was finished {count} times")

    def _poison_was_stopped(self) -> None:
        if self._cluster.edits_tables:
            return  # manual edits of rows change the counts of losses
        for name, times in self.crashed_by.items():
            if times > MAX_LOSSES:
                raise Violation(f"{name} has taken {times} nodes down")


def _pattern(text: str) -> str:
    """A pattern for the whole output of an attempt: a notice of dropped bytes stands for as many characters."""
    pieces = DROPPED.split(text)
    return "".join(
        f"[^\0]{{{piece.replace(',', '')}}}" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)
    )


def _ended(printed: str) -> str:
    """The output with the line end that jobd adds if the last line has none."""
    return printed and printed.rstrip("\n") + "\n"


def _held(engine: Engine) -> int:
    """Bytes of the outcomes and output that wait to be written."""
    outcomes, size = engine.keeper._pending, 0
    for message in engine.keeper.inbox._messages:
        match message:
            case ClaimUpdate() | Unresolved(update=ClaimUpdate()):
                size += weight(message if isinstance(message, ClaimUpdate) else message.update)
            case OutputPrinted(part=part):
                size += weight_of([part])
    return size + sum(outcomes._weights.values()) + sum(map(weight_of, outcomes._printed.values()))


def _printing(engine: Any) -> int:
    """Bytes of output that has not been passed to the keeper."""
    runs = [worker.in_progress() for processor in engine.pools for worker in processor.workers]
    outputs = [run._output for run in runs if run is not None and run._output is not None]
    return sum(len(one._tail) + len(one._line) + one._records.size for one in outputs)
