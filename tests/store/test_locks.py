"""The locks of one node's transactions do not block another node's rows, under every plan that the server chooses.

Each statement that locks rows is run in a transaction that stays open, while another node does all that a node does
with other jobs. A statement that locks more than the rows it names makes the other wait, which fails after a second.
"""

from collections.abc import Callable
from functools import partial

import pytest

from jobd.claim import ClaimUpdate
from jobd.job import JobState, Run
from jobd.store import dependencies, prune
from jobd.store import schedule_table as table
from jobd.store.mysql import dialect as mysql
from jobd.store.postgresql.dialect import Postgresql
from jobd.store.store import Session, Store
from tests.store import filling

SOON = 100


def make_jobs(session: Session, count: int) -> None:
    """Jobs that are ready, have run twice, are waited for, have changed; the even ones are node 1's, the odd 2's."""
    numbers = range(1, count + 1)
    session.write_rows("job", ("id", "name", "runonce"), [(n, f"job{n}", 1) for n in numbers])
    table.save_states(
        session, [JobState(n, due=10, ready=10, anchor=10, number=3, node=1 + n % 2, token=1) for n in numbers]
    )
    runs = [(n, number, 1, 1, 1, "succeeded", 1) for n in numbers for number in (1, 2)]
    columns = ("job_id", "number", "due_time", "finished_time", "attempts", "outcome", "node_id")
    session.write_rows("run", columns, runs)
    session.write_rows("job_dependency", dependencies.COLUMNS, [(n, n, 0, 0) for n in numbers])
    session.dialect.drop_seen_changes(session, list(numbers))
    table.record_changes(session, list(numbers), "run")


def write_outcomes(session: Session, ids: list[int]) -> None:
    states = [JobState(n, due=10, anchor=10, number=4) for n in ids]
    runs = [Run(n, 3, 10, 11, 12, 1, "failed", 1) for n in ids]
    done = [ClaimUpdate(1 + state.job_id % 2, 1, state, run, ()) for state, run in zip(states, runs, strict=True)]
    assert table.record(session, done, 12) == set(ids)


def write_outcomes_and_claim(session: Session, ids: list[int]) -> None:
    """The end of runs, which are due again at once, and their claim."""
    for n in ids:
        session.execute("UPDATE schedule SET node_id = 0 WHERE job_id = ?", (n,))
    claimed = session.dialect.claim(session.cursor, 1 + ids[0] % 2, "default", 0, SOON, len(ids))
    assert set(claimed) == set(ids)


def replan(session: Session, ids: list[int]) -> None:
    assert set(table.states_for_update(session, ids)) == set(ids)
    table.save_states(session, [JobState(n, due=20, ready=20, anchor=10, number=3) for n in ids])


def drop_changes(session: Session, ids: list[int]) -> None:
    table.drop_changes(session, [row.id for row in table.changes(session, 10_000) if row.job_id in set(ids)])


def last_zone_check(session: Session, ids: list[int]) -> None:
    session.dialect.drop_seen_changes(session, ids)


def begin(session: Session, ids: list[int]) -> None:
    assert len(table.record_starts(session, 1 + ids[0] % 2, [(n, 1, 11) for n in ids])) == len(ids)


def delete_runs(session: Session, ids: list[int]) -> None:
    assert prune.prune(session, 0, dict.fromkeys(ids, 2), 2 * len(ids)) == 2 * len(ids)


WORK = [write_outcomes, write_outcomes_and_claim, replan, drop_changes, last_zone_check, begin, delete_runs]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("analyzed", [False, True], ids=["as it is", "analyzed"])
@pytest.mark.parametrize("count", [2, 20, 1_200])
def test_nodes_at_work_do_not_wait_for_each_other(
    store: Store,
    database: str,
    open_store: Callable[[str], Store],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    analyzed: bool,
) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    store.transact(lambda session: make_jobs(session, count))
    if analyzed:
        filling.analyze(store)
    monkeypatch.setattr(mysql, "LOCK_WAIT", 1)
    begin = Postgresql.begin.replace("lock_timeout = '5s'", "lock_timeout = '1s'")
    assert begin != Postgresql.begin
    monkeypatch.setattr(Postgresql, "begin", begin)
    other = open_store(database)
    mine, others = list(range(1, count + 1, 2)), list(range(2, count + 1, 2))
    waited = []
    for one in WORK:

        def hold(session: Session, one: Callable[[Session, list[int]], None] = one) -> None:
            one(session, mine)
            for another in WORK:
                try:
                    other.transact(partial(rolled_back, work=another, ids=others))
                except RolledBack:
                    continue
                except Exception as error:
                    waited.append(f"{another.__name__} behind {one.__name__}: {error}")
            raise RolledBack

        with pytest.raises(RolledBack):
            store.transact(hold)
    assert not waited, "\n".join(waited)


class RolledBack(Exception):
    """Ends a transaction so that nothing of it stays."""


def rolled_back(session: Session, work: Callable[[Session, list[int]], None], ids: list[int]) -> None:
    work(session, ids)
    raise RolledBack
