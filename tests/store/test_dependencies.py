"""Jobs that are due when others have run: the same on every database."""

from collections.abc import Callable

import pytest

from jobd.claim import ClaimUpdate
from jobd.clock import SECOND
from jobd.dependency import parse_dependencies
from jobd.errors import BadValue
from jobd.job import Job, JobState, Options, Run
from jobd.store import apply, definitions
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store

NOW = 1_800_000_000 * SECOND


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

    def work(session: Session) -> None:
        state = table.states_for_update(session, [job_id])[job_id]
        done = state._replace(due=None, ready=None, number=state.number + 1, losses=losses)
        ended = Run(job_id, state.number, NOW, NOW, NOW + 5, 1, outcome, 0)
        assert table.record(session, [ClaimUpdate(state.node, state.token, done, ended, ())]) == {job_id}

    store.transact(work)


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
