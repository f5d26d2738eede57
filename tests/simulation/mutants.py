"""Known bugs, planted one at a time: the simulator must find each of them, otherwise its faults have a gap.

Each is a context manager within which one rule of the real code is changed.
"""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from jobd import lifecycle
from jobd.claim import ClaimUpdate
from jobd.engine import cycle, keeper, release, reports, sharing, takeover
from jobd.engine.engine import Engine
from jobd.engine.keeper import Keeper
from jobd.engine.lease import Lease, Neighbours, Watch
from jobd.engine.messages import Abandoned, LeaseRenewed, ToKeeper
from jobd.engine.output import Output
from jobd.engine.pending_updates import PendingUpdates
from jobd.engine.processor import Processor
from jobd.engine.queue import WorkQueue
from jobd.engine.split import Chunk, Split
from jobd.engine.spool import Place
from jobd.engine.worker import Execution, Worker
from jobd.errors import OutcomeUnknown
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.schedule_table import NONE_EXCLUDED
from jobd.store.sqlite.dialect import Sqlite
from tests.simulation.fake_workers import FakeWorker
from tests.simulation.node import MemorySpool, MemoryStartJournal, Node

Mutant = Callable[[], contextlib.AbstractContextManager[Any]]


def _instead(owner: Any, name: str, replacement: Any) -> Mutant:
    return lambda: mock.patch.object(owner, name, replacement)


def _record_unfenced(session: Any, updates: Any, now: int) -> set[int]:
    """A result with any token is accepted."""
    current = {
        state.job_id: state
        for state in table.states_for_update(session, [one.state.job_id for one in updates]).values()
    }
    taken = [
        one._replace(node=current[one.state.job_id].node, token=current[one.state.job_id].token) for one in updates
    ]
    return _record(session, taken, now)


_record = table.record


def _claim_without_token(
    self: Any, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, excluding: str = ""
) -> list[int]:
    """A claim does not change the token, so an old holder cannot be distinguished from the new one."""
    ids = _claim(self, cursor, node, pool, priority, until, limit, excluding)
    cursor.execute(f"UPDATE schedule SET token = 1 WHERE job_id IN ({','.join(map(str, ids))})")
    return ids


_claim = Sqlite.claim


def _claim_unconditionally(
    self: Any, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, excluding: str = ""
) -> list[int]:
    """The claim is not conditional."""
    cursor.execute(
        "UPDATE schedule SET node_id = ?, token = token + 1, started_time = NULL WHERE job_id IN"
        " (SELECT job_id FROM schedule WHERE pool = ? AND priority = ? AND ready_time <= ? LIMIT ?) RETURNING job_id",
        (node, pool, priority, until, limit),
    )
    return [job_id for (job_id,) in cursor.fetchall()]


def _declare_dead_unconditionally(session: Any, node: int, heartbeat: int, now: int) -> bool:
    """A node is declared dead although its heartbeat has advanced meanwhile."""
    cursor = session.execute("UPDATE node SET stopped_time = ? WHERE id = ? AND stopped_time IS NULL", (now, node))
    return bool(cursor.rowcount == 1)


def _observe_at_request(self: Watch, asked: int, answered: int, heartbeats: Any) -> list[int]:
    """A heartbeat counts as seen at the time of the request: a slow answer makes live nodes look dead."""
    return _observe(self, answered, asked, heartbeats)


_observe = Watch.observe


def _observe_half_a_lease(self: Watch, asked: int, answered: int, heartbeats: Any) -> list[int]:
    """A heartbeat that stands still for half a lease counts as dead."""
    self._lease = min(self._lease, 1_500_000)
    return _observe(self, asked, answered, heartbeats)


def _take_over_the_living(self: Neighbours, locks: Any) -> list[int]:
    """A neighbour is taken over although its lock is held."""
    return [node for node, lock in locks.items() if lock and self._is_held(lock)]


def _observe_strangers(self: Neighbours, locks: Any) -> list[int]:
    """A lock that was never seen held counts as free, although its node is on another machine."""
    return [node for node, lock in locks.items() if lock and not self._is_held(lock)]


@contextlib.contextmanager
def _no_last_call() -> Iterator[None]:
    """Each node rounds its share down, and no node claims the rest."""
    with (
        mock.patch.object(cycle, "claims_to_add", lambda share, before, holding: max(0, share.least - holding)),
        mock.patch.object(keeper, "last_call", return_value=-(10**15)),
        mock.patch.object(sharing, "last_call", return_value=-(10**15)),
    ):
        yield


def _release_above_share(session: Any, work: Any, settings: Any, pool: str, live: Any) -> Any:
    """A node that has more than its share releases the rest, including runs in progress."""
    share = _share(session, work, settings, pool, live)
    if share is not None and (over := work.capacities[pool].holding - share.most) > 0:
        own = "SELECT job_id FROM schedule WHERE node_id = ? LIMIT ?"
        session.execute(f"UPDATE schedule SET node_id = 0 WHERE job_id IN ({own})", (work.node, over))
    return share


_share = cycle._share


def _renew_at_the_answer(self: Keeper, now: int) -> None:
    """The lease counts from the arrival of the answer."""
    _run_cycle(self, now)
    if self.membership.lease._sent == now:
        answered = self._clock.monotonic()
        self.membership.lease.renewed(answered)
        self._outbox.put(LeaseRenewed(answered, self.membership.lease.length))


_run_cycle = Keeper._run_cycle


def _release_the_rest(self: Keeper, message: ToKeeper) -> None:
    """Claims made after the end of the lease are released together with those of the ended runs."""
    if isinstance(message, Abandoned):
        self._held.clear()
    _receive(self, message)


_receive = Keeper._receive


def _outcome_is_known(self: Keeper, error: Any, now: int) -> None:
    """After a commit with an unknown outcome the keeper continues as if it had succeeded."""
    if isinstance(error, OutcomeUnknown):
        self._pending.clear()
        self._held.uncertain = False
    _database_away(self, error, now)


_database_away = Keeper._database_away


def _lose_silently(job: Any, current: Any, *rest: Any) -> lifecycle.Decision:
    """A lost run is not run again."""
    decision = _lose(job, current, *rest)
    return decision._replace(state=decision.state._replace(ready=None)) if decision.run is not None else decision


_lose = lifecycle.after_loss


def _never_guarded(job: Any, current: Any, *rest: Any) -> lifecycle.Decision:
    """A loss is neither counted nor sets `guarded`, so a run that kills its node at once is repeated without end."""
    decision = _lose(job, current, *rest)
    return decision._replace(state=decision.state._replace(guarded=False, losses=0))


def _keep_claimed(current: Any) -> Any:
    """A claim whose run was not started is kept."""
    return current._replace(started=None)


@contextlib.contextmanager
def _keep_what_is_given_back() -> Iterator[None]:
    """The engine gives nothing back. The decisions of jobd.lifecycle itself are right."""
    changed = SimpleNamespace(**vars(lifecycle) | {"give_back": _keep_claimed})
    with mock.patch.object(reports, "lifecycle", changed), mock.patch.object(release, "lifecycle", changed):
        yield


def _vanish_at_once(self: Keeper, done: Any) -> None:
    """A claim that has vanished is dropped at once, although its run is still being ended."""
    for job_id in done.vanished:
        self._held._claims.pop(job_id, None)
    _apply_result(self, done)


def _survive(self: FakeWorker) -> None:
    """A run outlives its daemon."""


def _adopt_at_once(self: Keeper, done: Any) -> None:
    """Claims of unregistered nodes are taken over as soon as they are seen."""
    _apply_result(self, done)
    for one in done.unregistered or ():
        self._take_over([one])


_apply_result = Keeper._apply_result


def _start_beside_previous(self: Processor, worker: Any, claim: Any, wall: int, monotonic: int) -> bool:
    """A new claim of a job starts while the job's previous run has not ended."""
    given = _start(self, worker, claim, wall, monotonic)
    self._in_flight.clear()
    return given


_start = Processor._start


def _drop_revoked(self: Processor, worker: Worker) -> None:
    """Orders revoked from a worker are dropped."""
    worker.revoke_prefetched(self._clock.wall(), self._clock.monotonic())


def _revoke_a_copy(self: FakeWorker) -> int:
    """The worker keeps and runs revoked orders."""
    return len(self._orders)


@contextlib.contextmanager
def _no_start_journal() -> Iterator[None]:
    """There is no start journal, and no lost run sets `guarded`."""
    with (
        mock.patch.object(lifecycle, "after_loss", _never_guarded),
        mock.patch.object(MemoryStartJournal, "read", return_value={}),
    ):
        yield


def _assign_before_messages(self: Worker) -> None:
    """Output that has been read goes to the run in progress, although that run may have ended meanwhile."""
    _read(self)
    self.output_so_far()


_read = Worker.read


def _assign_everything(self: Split, mark: bytes) -> Chunk | None:
    """A run that has ended gets all output that has been read."""
    chunk = _end(self, mark)
    return None if chunk is None else (chunk[0] + self.rest()[0], 0)


_end = Split.end


def _read_half(self: MemorySpool, place: Place) -> ClaimUpdate:
    """The job states in the spool are kept, and the runs are not."""
    return self._kept[place.start]._replace(run=None)


def _drop_and_count_on(self: PendingUpdates, updates: Any) -> None:
    """Outcomes that have been written still count as waiting."""
    waiting = self._budget.waiting
    _drop_outcomes(self, updates)
    self._budget.waiting = waiting


_drop_outcomes = PendingUpdates.drop


def _spool_only(self: PendingUpdates, job_id: int, one: Any) -> ClaimUpdate | None:
    """An outcome that is only in the spool counts as unreadable, and nothing is logged."""
    del self._waiting[job_id]
    return None


def _claim_the_lowest_first(
    session: Any, node: int, pool: str, until: int, limit: int, excluded: Any, firsts: dict[int, int | None]
) -> list[Any]:
    """A node claims the jobs of the lowest priority first."""
    return _claim_all(session, node, pool, until, limit, excluded, dict(reversed(firsts.items())))


_claim_all = table.claim


def _put_lowest_first(self: WorkQueue, claim: Any, moment: int) -> None:
    """The queue returns the jobs of the lowest priority first."""
    _put(self, claim, moment)
    self._heaps = dict(sorted(self._heaps.items()))


_put = WorkQueue.put


def _overtake_by_a_hundred(session: Any, work: Any, settings: Any, pool: str, want: Any, done: Any) -> None:
    """A waiting job is overtaken only by jobs of a much higher priority."""
    _overtake(session, work, settings, pool, want._replace(priority=want.priority + 50), done)


_overtake = cycle._claim_higher


def _find_those_above_0(
    session: Any, pool: str, known: Any = (0,), excluded: Any = NONE_EXCLUDED
) -> dict[int, int | None]:
    """Priorities below 0 are not found."""
    return {
        priority: first for priority, first in _first_ready(session, pool, known, excluded).items() if priority >= 0
    }


_first_ready = table.first_ready


def _shrink_silently(self: Output, most: int) -> None:
    """Output without room is dropped without a notice."""
    dropped = self.dropped
    _shrink(self, most)
    self.dropped = dropped


_shrink = Output.shrink


MUTANTS: dict[str, Mutant] = {
    "results with an old token are accepted": _instead(table, "record", _record_unfenced),
    "a claim does not change the token": _instead(Sqlite, "claim", _claim_without_token),
    "a claim is not conditional": _instead(Sqlite, "claim", _claim_unconditionally),
    "runs are not killed at the end of the lease": _instead(Engine, "_bound_by_lease", lambda self: False),
    "the lease counts from the arrival of the answer": _instead(Keeper, "_run_cycle", _renew_at_the_answer),
    "the lease has no margin": _instead(
        Lease, "deadline", lambda self: None if self._sent is None else self._sent + self.length + 150_000
    ),
    "half a lease makes a node dead": _instead(Watch, "observe", _observe_half_a_lease),
    "a slow answer makes a node dead": _instead(Watch, "observe", _observe_at_request),
    "a live neighbour is taken over": _instead(Neighbours, "observe", _take_over_the_living),
    "a lock that was never seen held counts as free": _instead(Neighbours, "observe", _observe_strangers),
    "workers do not hold the daemon's lock": _instead(Node, "holds", lambda self, life: self.up and life == self.life),
    "no node checks locks": _instead(Neighbours, "observe", lambda self, locks: []),
    "no node claims the rest above the shares": _no_last_call,
    "claims above the share are released during their runs": _instead(cycle, "_share", _release_above_share),
    "a node is declared dead unconditionally": _instead(nodes, "declare_dead", _declare_dead_unconditionally),
    "a node that was declared dead claims": _instead(nodes, "is_registered", lambda session, node: True),
    "a vanished claim is released before its run has ended": _instead(Keeper, "_apply_result", _vanish_at_once),
    "a run outlives its daemon": _instead(FakeWorker, "end", _survive),
    "later claims are released with those of ended runs": _instead(Keeper, "_receive", _release_the_rest),
    "a commit with an unknown outcome counts as done": _instead(Keeper, "_database_away", _outcome_is_known),
    "claims of a dead node are not released": _instead(
        takeover, "release_claims", lambda *args: release.Losses(0, 0)
    ),
    "lost claims of the node itself are not released": _instead(
        cycle, "release_claims", lambda *args: release.Losses(0, 0)
    ),
    "a lost run is not run again": _instead(lifecycle, "after_loss", _lose_silently),
    "a claim whose run was not started is kept": _keep_what_is_given_back,
    "there is no start journal": _no_start_journal,
    "the spool keeps job states and no runs": _instead(MemorySpool, "read", _read_half),
    "claims of unregistered nodes are taken over at once": _instead(Keeper, "_apply_result", _adopt_at_once),
    "a new claim starts during the job's previous run": _instead(Processor, "_start", _start_beside_previous),
    "revoked orders are dropped": _instead(Processor, "_revoke_prefetched", _drop_revoked),
    "revoked orders are run": _instead(FakeWorker, "revoke", _revoke_a_copy),
    "output is assigned before messages are handled": _instead(Worker, "read", _assign_before_messages),
    "a run that has ended gets all output that was read": _instead(Split, "end", _assign_everything),
    "a revoked run keeps output": _instead(Execution, "retracted_parts", Execution.next_parts),
    "written outcomes count as waiting": _instead(PendingUpdates, "drop", _drop_and_count_on),
    "outcomes that are only in the spool are dropped": _instead(PendingUpdates, "_read", _spool_only),
    "dropped output is not reported": _instead(Output, "shrink", _shrink_silently),
    "a claim takes the lowest priority first": _instead(table, "claim", _claim_the_lowest_first),
    "the queue returns the lowest priority first": _instead(WorkQueue, "put", _put_lowest_first),
    "no job overtakes a waiting one": _instead(cycle, "_claim_higher", lambda *args: None),
    "only a much higher priority overtakes": _instead(cycle, "_claim_higher", _overtake_by_a_hundred),
    "priorities below 0 are not found": _instead(table, "first_ready", _find_those_above_0),
}  # fmt: skip

# Seeds that have found each bug, tried first. After a change of the code another seed may; the search then starts at 0.
HINTS = {
    "results with an old token are accepted": 28,
    "a claim does not change the token": 42,
    "a claim is not conditional": 0,
    "runs are not killed at the end of the lease": 10,
    "the lease counts from the arrival of the answer": 15,
    "the lease has no margin": 94,
    "half a lease makes a node dead": 0,
    "a slow answer makes a node dead": 1,
    "a live neighbour is taken over": 0,
    "a lock that was never seen held counts as free": 2,
    "workers do not hold the daemon's lock": 11,
    "no node checks locks": 0,
    "no node claims the rest above the shares": 235,
    "claims above the share are released during their runs": 0,
    "a node is declared dead unconditionally": 1410,
    "a node that was declared dead claims": 12,
    "a vanished claim is released before its run has ended": 11,
    "a run outlives its daemon": 6,
    "later claims are released with those of ended runs": 11,
    "a commit with an unknown outcome counts as done": 144,
    "claims of a dead node are not released": 1,
    "lost claims of the node itself are not released": 3,
    "a lost run is not run again": 5,
    "a claim whose run was not started is kept": 3,
    "there is no start journal": 1,
    "the spool keeps job states and no runs": 65,
    "claims of unregistered nodes are taken over at once": 11,
    "a new claim starts during the job's previous run": 35,
    "revoked orders are dropped": 2,
    "revoked orders are run": 9,
    "output is assigned before messages are handled": 2,
    "a run that has ended gets all output that was read": 2,
    "a revoked run keeps output": 0,
    "written outcomes count as waiting": 0,
    "outcomes that are only in the spool are dropped": 24,
    "dropped output is not reported": 0,
    "a claim takes the lowest priority first": 0,
    "the queue returns the lowest priority first": 0,
    "no job overtakes a waiting one": 0,
    "only a much higher priority overtakes": 0,
    "priorities below 0 are not found": 0,
}
