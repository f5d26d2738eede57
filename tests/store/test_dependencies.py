"""Jobs that are due when others have run: the same on every database."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobd.claim import ClaimUpdate
from jobd.clock import SECOND
from jobd.dependency import Dependency, parse_dependencies
from jobd.errors import BadValue
from jobd.job import Job, JobState, Options, Run
from jobd.store import apply, definitions, dependencies
from jobd.store import schedule_table as table
from jobd.store.rename import rename
from jobd.store.store import Session, Store

NOW = 1_800_000_000 * SECOND
LOCKED = 0.5  # seconds: a session that has not ended by then waits for a lock, and a transaction may stand still for 4


def after(name: str, *others: str) -> Job:
    return Job(name, options=Options(after_jobs=parse_dependencies(others)))


def add(store: Store, *jobs: Job) -> None:
    definitions.add(store, jobs, NOW, "UTC")


def ids(store: Store) -> dict[str, int]:
    return dict(store.transact(lambda session: session.rows("SELECT name, id FROM job")))


def due(store: Store) -> set[str]:
    """The jobs that can be claimed."""
    sql = "SELECT name FROM job JOIN schedule ON job_id = id WHERE ready_time IS NOT NULL AND node_id = 0"
    return {name for (name,) in store.transact(lambda session: session.rows(sql))}


def run(store: Store, name: str, outcome: str = "succeeded", losses: int = 0) -> None:
    """A run of the job ends so."""
    job_id = ids(store)[name]
    store.transact(lambda session: end_run(session, job_id, outcome, losses))


def end_run(
    session: Session, job_id: int, outcome: str = "succeeded", losses: int = 0, finished: int = NOW + 5, late: int = 0
) -> None:
    """A run of the job ends, and a node records that `late` µs later."""
    state = table.states_for_update(session, [job_id])[job_id]
    done = state._replace(due=None, ready=None, attempt=0, number=state.number + 1, losses=losses)
    ended = Run(job_id, state.number, NOW, NOW, finished, 1, outcome, 0)
    assert table.record(session, [ClaimUpdate(state.node, state.token, done, ended, ())], finished + late) == {job_id}


def change(store: Store, name: str, **fields: Any) -> None:
    definitions.change(store, name, lambda job: job._replace(**fields), NOW, "UTC")


@contextmanager
def beside(other: Store, work: Callable[[Store], None]) -> Iterator[Callable[[], None]]:
    """What is called within a transaction lets `work` go on in another session, until it ends or waits for a lock."""
    failures: list[BaseException] = []

    def do() -> None:
        try:
            work(other)
        except BaseException as error:
            failures.append(error)
        finally:
            other.close()  # this thread's connection

    thread = threading.Thread(target=do)

    def meanwhile() -> None:
        if thread.ident is None:  # else the transaction is repeated
            thread.start()
            thread.join(LOCKED)

    yield meanwhile
    thread.join()
    assert not failures, failures


def test_a_job_is_due_when_the_other_has_succeeded(store: Store) -> None:
    add(store, Job("extract", "1h"), after("load", "extract"))
    assert due(store) == {"extract"}
    run(store, "extract", "failed")
    run(store, "extract", "skipped")
    run(store, "extract", "lost", losses=1)
    assert due(store) == set()
    run(store, "extract")
    assert due(store) == {"load"}


def test_several_must_all_have_run_since_the_last_time(store: Store) -> None:
    add(store, Job("a", "1h"), Job("b", "1h"), after("both", "a", "b:finished"))
    run(store, "a")
    run(store, "a")
    assert "both" not in due(store)
    run(store, "b", "failed")
    assert due(store) == {"both"}
    run(store, "both")
    run(store, "b")
    assert "both" not in due(store)
    run(store, "a")
    assert due(store) == {"both"}


def test_an_upstream_run_that_ends_during_the_run_counts_for_the_next_one(store: Store) -> None:
    add(store, Job("a", "1h"), after("b", "a"))
    run(store, "a")
    (claimed,) = store.transact(lambda session: table.claim(session, 1, "default", NOW + SECOND, 10))
    run(store, "a")
    assert due(store) == set()
    store.transact(
        lambda session: table.record(
            session,
            [
                ClaimUpdate(
                    1,
                    claimed.state.token,
                    claimed.state._replace(node=0, due=None, ready=None, number=2),
                    Run(claimed.state.job_id, 1, NOW, NOW, NOW + 9, 1, "failed", 1),
                    (),
                )
            ],
            NOW + 9,
        )
    )
    assert due(store) == {"b"}


def test_a_paused_or_deleted_job_is_not_due(store: Store) -> None:
    add(store, Job("a", "1h"), after("b", "a"), after("c", "a"))
    definitions.set_paused(store, ["b"], True, NOW, "UTC")
    definitions.delete(store, ["c"], NOW, "UTC")
    run(store, "a")
    assert due(store) == set()


def test_a_circle_and_an_unknown_name_are_refused(store: Store) -> None:
    with pytest.raises(BadValue, match="after 'nobody', but there is no such job"):
        add(store, after("a", "nobody"))
    add(store, Job("a", "1h"), after("b", "a"), after("c", "b"))

    def set_after(name: str, *others: str) -> Callable[[Job], Job]:
        return lambda job: Job(name, options=Options(after_jobs=parse_dependencies(others)))

    for others in (("a",), ("b",), ("c:finished",)):
        with pytest.raises(BadValue, match="'a' would wait for itself"):
            definitions.change(store, "a", set_after("a", *others), NOW, "UTC")
    assert {job.name: tuple(one.text for one in job.options.after_jobs) for job in apply.all_jobs(store)} == {
        "a": (),
        "b": ("a",),
        "c": ("b",),
    }


def test_a_change_of_something_else_forgets_nothing(store: Store) -> None:
    add(store, Job("a", "1h"), Job("b", "1h"), after("both", "a", "b"))
    run(store, "a")
    definitions.change(store, "both", lambda job: job._replace(retry_times=3), NOW, "UTC")
    run(store, "b")
    assert due(store) == {"both"}


def test_the_state_of_a_job_without_dependencies_is_unchanged(store: Store) -> None:
    add(store, Job("a", "1h"))
    run(store, "a")
    (state,) = store.transact(lambda session: table.states_for_update(session, [1])).values()
    assert state == JobState(1, anchor=state.anchor, number=2, fingerprint=state.fingerprint, token=state.token)


def test_a_change_of_a_job_keeps_what_another_node_records_meanwhile(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    add(store, Job("a", "1h"), Job("b", "1h"), after("both", "a", "b"))

    job_id = ids(store)["a"]

    def end_first(session: Session) -> None:
        end_run(session, job_id, "succeeded")
        meanwhile()

    with beside(open_store(database), lambda other: change(other, "both", retry_times=3)) as meanwhile:
        store.transact(end_first)
    run(store, "b")
    assert due(store) == {"both"}


def test_a_run_that_ends_while_its_follower_is_changed_counts(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    """Regression: on PostgreSQL a row that was written a second time could not be seen by who waited for the first."""
    add(store, Job("a", "1h"), Job("b", "1h"), after("both", "a", "b"))
    (both,) = (job for job in apply.all_jobs(store) if job.name == "both")

    def change_first(session: Session) -> None:
        dependencies.write(session, [both])
        meanwhile()

    with beside(open_store(database), lambda other: run(other, "a")) as meanwhile:
        store.transact(change_first)
    run(store, "b")
    assert due(store) == {"both"}


def test_two_changes_at_the_same_moment_make_no_circle(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    add(store, Job("a", "1h"), Job("b", "1h"), Job("c", "1h"))
    of = ids(store)
    b = Job("b", id=of["b"], options=Options(after_jobs=(Dependency("a", False, of["a"]),)))

    def refused(other: Store) -> None:
        change(other, "c", options=Options(after_jobs=parse_dependencies(["b"])))
        with pytest.raises(BadValue, match="'a' would wait for itself"):
            change(other, "a", options=Options(after_jobs=parse_dependencies(["c"])))

    def change_first(session: Session) -> None:
        dependencies.write(session, [b])
        meanwhile()

    with beside(open_store(database), refused) as meanwhile:
        store.transact(change_first)


def test_a_rename_beside_a_change_of_a_follower_that_no_node_has_seen(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    add(store, Job("a", "1h"), Job("c", "1h"), after("b", "a"))
    store.transact(lambda session: session.execute("DELETE FROM schedule"))
    (b,) = (job for job in apply.all_jobs(store) if job.name == "b")
    b = b._replace(options=Options(after_jobs=parse_dependencies(["c"])))

    def change_first(session: Session) -> None:
        definitions.write(session, [b], NOW, "UTC")
        meanwhile()

    with beside(open_store(database), lambda other: rename(other, "a", "other", NOW, "UTC") and None) as meanwhile:
        store.transact(change_first)
    (b,) = (job for job in apply.all_jobs(store) if job.name == "b")
    assert [one.text for one in b.options.after_jobs] == ["c"]
