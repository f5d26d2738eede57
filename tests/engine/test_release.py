"""A node that leaves gives back what it has not started, and leaves the rest to the nodes that take over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.engine.release import give_back_unstarted, release_claims
from jobd.job import JobState
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests import servers
from tests.engine.harness import settings

JOBS = (1, 2, 3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(parse_url(servers.sqlite_url(tmp_path)))
    yield store
    store.close()


def claimed(session: Session) -> tuple[int, dict[int, int]]:
    """A node that has claimed three jobs, and the token of each."""
    node = nodes.register(session, "host", 1, "1", "here", 1)
    for job in JOBS:
        session.execute(f"INSERT INTO job (name, runonce) VALUES ('job{job}', 1)")
    table.save_states(session, [JobState(job, due=10, ready=10, anchor=10) for job in JOBS])
    return node, {one.state.job_id: one.state.token for one in table.claim(session, node, "default", 20, 9)}


def held(store: Store, node: int) -> list[int]:
    return sorted(store.transact(lambda session: table.tokens_of(session, node)))


def test_a_job_whose_run_has_started_or_may_have_started_is_not_given_back(store: Store) -> None:
    node, tokens = store.transact(claimed)
    store.transact(lambda session: session.execute("UPDATE schedule SET started_time = 30 WHERE job_id = 1"))
    store.transact(lambda session: give_back_unstarted(session, node, {(2, tokens[2])}, 40))
    assert held(store, node) == [1, 2]
    free = store.transact(lambda session: session.rows("SELECT ready_time FROM schedule WHERE node_id = 0"))
    assert free == [(10,)]
    assert store.transact(lambda session: session.rows("SELECT count(*) FROM run")) == [(0,)]


def test_a_start_under_an_older_claim_keeps_no_job(store: Store) -> None:
    node, tokens = store.transact(claimed)
    store.transact(lambda session: give_back_unstarted(session, node, {(2, tokens[2] - 1)}, 40))
    assert held(store, node) == []


def test_a_dead_nodes_runs_are_lost_and_its_other_jobs_wait_again(store: Store, tmp_path: Path) -> None:
    node, tokens = store.transact(claimed)
    starts = {(2, tokens[2]): 30}
    losses = store.transact(
        lambda session: release_claims(
            session, node, {3: tokens[3]}, starts, 40, settings(tmp_path, poll=1_000_000), "its node died"
        )
    )
    assert losses == (1, 1)
    assert held(store, node) == [3]
    assert store.transact(lambda session: session.rows("SELECT job_id, outcome, started_time FROM run")) == [
        (2, "lost", 30)
    ]
