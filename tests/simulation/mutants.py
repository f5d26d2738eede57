"""Known bugs, planted one at a time: the simulator must find each of them, otherwise its faults have a gap.

Each is a context manager within which one rule of the real code is changed.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from jobd import lifecycle
from jobd.claim import ClaimUpdate
from jobd.engine import cycle, keeper, takeover
from jobd.engine.engine import Engine
from jobd.engine.keeper import Keeper
from jobd.engine.lease import Lease, Neighbours, Watch
from jobd.engine.messages import Abandoned, ToKeeper
from jobd.engine.outcomes import Outcomes
from jobd.engine.output import Output
from jobd.engine.processor import Processor
from jobd.engine.queue import WorkQueue
from jobd.engine.split import Chunk, Split
from jobd.engine.spool import Place
from jobd.engine.worker import Execution, Worker
from jobd.errors import OutcomeUnknown
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.schedule_table import NOTHING
from jobd.store.sqlite import Sqlite
from tests.simulation.fake_workers import FakeWorker
from tests.simulation.node import MemorySpool, MemoryStartJournal, Node

Mutant = Callable[[], contextlib.AbstractContextManager[Any]]


def _instead(owner: Any, name: str, replacement: Any) -> Mutant:
    return lambda: mock.patch.object(owner, name, replacement)


def _settle_unfenced(session: Any, updates: Any) -> set[int]:
    """A result with any token is accepted."""
    current = {
        state.job_id: state
        for state in table.states_for_update(session, [one.state.job_id for one in updates]).values()
    }
    taken = [
        one._replace(node=current[one.state.job_id].node, token=current[one.state.job_id].token) for one in updates
    ]
    return _settle(session, taken)


_settle = table.record


def _claim_without_token(
    self: Any, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, but: str = ""
) -> list[int]:
    """A claim does not change the token, so an old holder cannot be distinguished from the new one."""
    ids = _claim(self, cursor, node, pool, priority, until, limit, but)
    cursor.execute(f"UPDATE schedule SET token = 1 WHERE job_id IN ({','.join(map(str, ids))})")
    return ids


_claim = Sqlite.claim


def _claim_what_is_claimed(
    self: Any, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, but: str = ""
) -> list[int]:
    """The claim is not conditional."""
    cursor.execute(
        "UPDATE schedule SET node_id = ?, token = token + 1, started_time = NULL WHERE job_id IN"
        " (SELECT job_id FROM schedule WHERE pool = ? AND priority = ? AND ready_time <= ? LIMIT ?) RETURNING job_id",
        (node, pool, priority, until, limit),
    )
    return [job_id for (job_id,) in cursor.fetchall()]


def _bury_blindly(session: Any, node: int, heartbeat: int, now: int) -> bool:
    """A node is declared dead although its heartbeat has advanced meanwhile."""
    cursor = session.execute("UPDATE node SET stopped_time = ? WHERE id = ? AND stopped_time IS NULL", (now, node))
    return bool(cursor.rowcount == 1)


def _observe_once(self: Watch, asked: int, answered: int, heartbeats: Any) -> list[int]:
    """A heartbeat counts as seen at the time of the request: a slow answer makes live nodes look dead."""
    return _observe(self, answered, asked, heartbeats)


_observe = Watch.observe


def _observe_impatiently(self: Watch, asked: int, answered: int, heartbeats: Any) -> list[int]:
    """A heartbeat that stands still for half a lease counts as dead."""
    self._lease = min(self._lease, 1_500_000)
    return _observe(self, asked, answered, heartbeats)


def _end_of_the_living(self: Neighbours, locks: Any) -> list[int]:
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
    ):
        yield


def _free_what_is_over(session: Any, work: Any, settings: Any, pool: str, live: Any) -> Any:
    """A node that has more than its share releases the rest, including runs in progress."""
    share = _share(session, work, settings, pool, live)
    if share is not None and (over := work.capacities[pool].holding - share.most) > 0:
        own = "SELECT job_id FROM schedule WHERE node_id = ? LIMIT ?"
        session.execute(f"UPDATE schedule SET node_id = 0 WHERE job_id IN ({own})", (work.node, over))
    return share


_share = cycle._share


def _renewed_at_the_answer(self: Keeper, now: int) -> None:
    """The lease counts from the arrival of the answer."""
    _turn(self, now)
    if self.lease._sent == now:
        self.lease.renewed(self._clock.monotonic())


_turn = Keeper._run_cycle


def _forget_the_rest(self: Keeper, message: ToKeeper) -> None:
    """Claims made after the end of the lease are released together with those of the ended runs."""
    if isinstance(message, Abandoned):
        self._held.clear()
    _receive(self, message)


_receive = Keeper._receive


def _outcome_is_known(self: Keeper, error: Any, now: int) -> None:
    """After a commit with an unknown outcome the keeper continues as if it had succeeded."""
    if isinstance(error, OutcomeUnknown):
        self._outcomes.clear()
        self._reconcile = False
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


def _vanish_at_once(self: Keeper, done: Any) -> None:
    """A claim that has vanished is dropped at once, although its run is still being ended."""
    for job_id in done.vanished:
        self._held._claims.pop(job_id, None)
    _announce(self, done)


def _orphan(self: FakeWorker) -> None:
    """A run outlives its daemon."""


def _adopt_at_once(self: Keeper, done: Any) -> None:
    """Claims of unregistered nodes are taken over as soon as they are seen."""
    _announce(self, done)
    for one in done.unregistered or ():
        self._take_over_unregistered(one)


_announce = Keeper._announce


def _empty_hands(self: Processor, worker: Any, claim: Any, wall: int, monotonic: int) -> bool:
    """A new claim of a job starts while the job's previous run has not ended."""
    given = _give(self, worker, claim, wall, monotonic)
    self._in_flight.clear()
    return given


_give = Processor._start


def _forget_the_line(self: Processor, worker: Worker) -> None:
    """Orders revoked from a worker are dropped."""
    worker.revoke_prefetched(self._clock.wall(), self._clock.monotonic())


def _take_back_a_copy(self: FakeWorker) -> int:
    """The worker keeps and runs revoked orders."""
    return len(self._orders)


@contextlib.contextmanager
def _no_marks() -> Iterator[None]:
    """There is no start journal, and no lost run sets `guarded`."""
    with (
        mock.patch.object(lifecycle, "after_loss", _never_guarded),
        mock.patch.object(MemoryStartJournal, "read", return_value={}),
    ):
        yield


def _share_before_hearing(self: Worker) -> None:
    """Output that has been read goes to the run in progress, although that run may have ended meanwhile."""
    _read(self)
    self.output_so_far()


_read = Worker.read


def _share_everything(self: Split, mark: bytes) -> Chunk | None:
    """A run that has ended gets all output that has been read."""
    share = _end(self, mark)
    return None if share is None else (share[0] + self.rest()[0], 0)


_end = Split.end


def _read_half(self: MemorySpool, place: Place) -> ClaimUpdate:
    """The job states in the spool are kept, and the runs are not."""
    return self._kept[place.start]._replace(run=None)


def _drop_and_count_on(self: Outcomes, updates: Any) -> None:
    """Outcomes that have been written still count as waiting."""
    waiting = self._budget.waiting
    _drop_outcomes(self, updates)
    self._budget.waiting = waiting


_drop_outcomes = Outcomes.drop


def _spool_and_forget(self: Outcomes, job_id: int, one: Any) -> ClaimUpdate | None:
    """An outcome that is only in the spool counts as unreadable, and nothing is logged."""
    del self._waiting[job_id]
    return None


def _claim_the_lowest_first(
    session: Any, node: int, pool: str, until: int, limit: int, without: Any, firsts: dict[int, int | None]
) -> list[Any]:
    """A node claims the jobs of the lowest priority first."""
    return _claim_all(session, node, pool, until, limit, without, dict(reversed(firsts.items())))


_claim_all = table.claim


def _put_below(self: WorkQueue, claim: Any, moment: int) -> None:
    """The queue returns the jobs of the lowest priority first."""
    _put(self, claim, moment)
    self._heaps = dict(sorted(self._heaps.items()))


_put = WorkQueue.put


def _overtake_by_a_hundred(session: Any, work: Any, settings: Any, pool: str, want: Any, done: Any) -> None:
    """A waiting job is overtaken only by jobs of a much higher priority."""
    _overtake(session, work, settings, pool, want._replace(above=want.above + 50), done)


_overtake = cycle._claim_higher


def _find_those_above(session: Any, pool: str, known: Any = (0,), without: Any = NOTHING) -> dict[int, int | None]:
    """Priorities below 0 are not found."""
    return {priority: first for priority, first in _first_ready(session, pool, known, without).items() if priority >= 0}


_first_ready = table.first_ready


def _shrink_silently(self: Output, most: int) -> None:
    """Output without room is dropped without a notice."""
    lost = self.lost
    _shrink(self, most)
    self.lost = lost


_shrink = Output.shrink


MUTANTS: dict[str, Mutant] = {
    "results are not fenced": _instead(table, "record", _settle_unfenced),
    "a claim does not move the token": _instead(Sqlite, "claim", _claim_without_token),
    "a claim is not conditional": _instead(Sqlite, "claim", _claim_what_is_claimed),
    "runs are not ended when the lease is over": _instead(Engine, "_bound_by_lease", lambda self: False),
    "the lease counts from the answer": _instead(Keeper, "_run_cycle", _renewed_at_the_answer),
    "the lease has no margin": _instead(
        Lease, "deadline", lambda self: None if self._sent is None else self._sent + self.length + 150_000
    ),
    "half a lease makes a node dead": _instead(Watch, "observe", _observe_impatiently),
    "a slow answer makes a node dead": _instead(Watch, "observe", _observe_once),
    "a neighbour is taken over while it lives": _instead(Neighbours, "observe", _end_of_the_living),
    "a lock is taken for free that was never held": _instead(Neighbours, "observe", _observe_strangers),
    "a lock is the daemon's alone": _instead(Node, "holds", lambda self, life: self.up and life == self.life),
    "nobody looks at locks": _instead(Neighbours, "observe", lambda self, locks: []),
    "what is over the shares is nobody's": _no_last_call,
    "what is over the share is freed under its run": _instead(cycle, "_share", _free_what_is_over),
    "a node is buried unconditionally": _instead(nodes, "declare_dead", _bury_blindly),
    "a buried node claims": _instead(nodes, "is_registered", lambda session, node: True),
    "what has vanished is given on before it has ended": _instead(Keeper, "_announce", _vanish_at_once),
    "a run outlives its daemon": _instead(FakeWorker, "end", _orphan),
    "claims made meanwhile are given up too": _instead(Keeper, "_receive", _forget_the_rest),
    "an unknown outcome is taken for a known one": _instead(Keeper, "_database_away", _outcome_is_known),
    "what a dead node had is not given on": _instead(
        takeover, "release_claims", lambda *args: takeover.Losses(0, 0)
    ),
    "own claims that were lost are not given on": _instead(
        cycle, "release_claims", lambda *args: takeover.Losses(0, 0)
    ),
    "what was lost is not run again": _instead(lifecycle, "after_loss", _lose_silently),
    "what was not started stays claimed": _instead(lifecycle, "give_back", _keep_claimed),
    "nothing tells that a run had begun": _no_marks,
    "the spool keeps half": _instead(MemorySpool, "read", _read_half),
    "claims of the gone are taken at once": _instead(Keeper, "_announce", _adopt_at_once),
    "what is in hand is not waited for": _instead(Processor, "_start", _empty_hands),
    "what is taken back is forgotten": _instead(Processor, "_revoke_prefetched", _forget_the_line),
    "what is taken back is run all the same": _instead(FakeWorker, "revoke", _take_back_a_copy),
    "what is read is shared before words are heard": _instead(Worker, "read", _share_before_hearing),
    "what is read when a run is over is all its own": _instead(Split, "end", _share_everything),
    "what did not take place has printed": _instead(Execution, "retracted_parts", Execution.next_parts),
    "what is written counts as if it waited": _instead(Outcomes, "drop", _drop_and_count_on),
    "what is in the spool alone is forgotten": _instead(Outcomes, "_read", _spool_and_forget),
    "what is dropped is not said": _instead(Output, "shrink", _shrink_silently),
    "a claim takes the lowest priority first": _instead(table, "claim", _claim_the_lowest_first),
    "the queue gives the lowest priority first": _instead(WorkQueue, "put", _put_below),
    "nothing overtakes what waits": _instead(cycle, "_claim_higher", lambda *args: None),
    "only what is far above overtakes": _instead(cycle, "_claim_higher", _overtake_by_a_hundred),
    "what is below the usual priority is not found": _instead(table, "first_ready", _find_those_above),
}  # fmt: skip

# Seeds that have found each bug, tried first. After a change of the code another seed may; the search then starts at 0.
HINTS = {
    "results are not fenced": 9,
    "a claim does not move the token": 42,
    "a claim is not conditional": 0,
    "runs are not ended when the lease is over": 14,
    "the lease counts from the answer": 7,
    "the lease has no margin": 38,
    "half a lease makes a node dead": 15,
    "a slow answer makes a node dead": 1,
    "a neighbour is taken over while it lives": 0,
    "a lock is taken for free that was never held": 2,
    "a lock is the daemon's alone": 13,
    "nobody looks at locks": 0,
    "what is over the shares is nobody's": 13,
    "what is over the share is freed under its run": 5,
    "a node is buried unconditionally": 21,
    "a buried node claims": 3,
    "what has vanished is given on before it has ended": 7,
    "a run outlives its daemon": 6,
    "claims made meanwhile are given up too": 48,
    "an unknown outcome is taken for a known one": 2,
    "what a dead node had is not given on": 1,
    "own claims that were lost are not given on": 2,
    "what was lost is not run again": 1,
    "what was not started stays claimed": 0,
    "nothing tells that a run had begun": 1,
    "the spool keeps half": 132,
    "claims of the gone are taken at once": 4,
    "what is in hand is not waited for": 35,
    "what is taken back is forgotten": 2,
    "what is taken back is run all the same": 9,
    "what is read is shared before words are heard": 2,
    "what is read when a run is over is all its own": 2,
    "what did not take place has printed": 30,
    "what is written counts as if it waited": 0,
    "what is in the spool alone is forgotten": 0,
    "what is dropped is not said": 0,
    "a claim takes the lowest priority first": 0,
    "the queue gives the lowest priority first": 0,
    "nothing overtakes what waits": 0,
    "only what is far above overtakes": 0,
    "what is below the usual priority is not found": 0,
}
