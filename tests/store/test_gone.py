"""Claims of nodes without a row are found, and released when none of their runs can be in progress."""

import pytest

from jobd.clock import SECOND
from jobd.engine.takeover import UnregisteredNode, release_dead, unregistered_nodes
from jobd.job import Job
from jobd.store import definitions, nodes
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store
from tests.store.test_hostile_rows import NOW
from tests.store.test_removed import SETTINGS, claim, write


@pytest.fixture
def node(store: Store) -> int:
    """A node that has claimed a job, beside many that nobody has."""
    definitions.add(store, [Job("mine", runonce=True)], NOW, "UTC")
    number = store.transact(lambda s: nodes.register(s, "host", 7, "1", "mine", NOW))
    assert len(claim(store, number)) == 1
    definitions.add(store, [Job(f"free{n}", "1h") for n in range(5)], NOW + SECOND, "UTC")
    return number


def found(store: Store) -> list[UnregisteredNode]:
    return store.transact(unregistered_nodes)


MEDDLING = {
    "stopped": ("UPDATE node SET stopped_time = 1", 1, "mine"),
    "deleted": ("DELETE FROM node", -1, ""),
    "of another name": ("UPDATE schedule SET node_id = 99 WHERE node_id <> 0", -1, ""),
    "of no good name": ("UPDATE schedule SET node_id = -99 WHERE node_id <> 0", -1, ""),
}


@pytest.mark.parametrize("how", MEDDLING)
def test_claims_of_an_unregistered_node_are_found_and_released(store: Store, node: int, how: str) -> None:
    assert found(store) == []
    statement, counter, instance = MEDDLING[how]
    write(store, statement)
    (one,) = found(store)
    assert (one.heartbeat, one.instance) == (counter, instance)
    losses = store.transact(lambda s: release_dead(s, one, {}, NOW, SETTINGS))
    assert losses is not None
    assert losses.waiting == 1
    assert found(store) == []
    assert [one.state.job_id for one in claim(store, node + 1)] == [1]


def test_claims_that_have_changed_since_are_left_alone(store: Store, node: int) -> None:
    write(store, "UPDATE node SET stopped_time = 1")
    (seen,) = found(store)

    def late(session: Session) -> object:
        return release_dead(session, seen, {}, NOW, SETTINGS)

    write(store, "UPDATE node SET stopped_time = NULL")
    assert store.transact(late) is None
    write(store, "UPDATE node SET stopped_time = 1, heartbeat = 9")
    assert store.transact(late) is None
    assert store.transact(lambda session: table.tokens_of(session, node)) != {}
