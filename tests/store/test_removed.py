"""A job whose row is removed or replaced during a claim is claimed by no other node, and its tokens only grow."""

from pathlib import Path

from jobd.claim import ClaimUpdate
from jobd.clock import SECOND
from jobd.engine.changes import ChangeApplier
from jobd.engine.release import release_claims
from jobd.job import MAX_COUNTER, PLAIN, Job
from jobd.store import definitions, nodes
from jobd.store import schedule_table as table
from jobd.store.schedule_table import Claimed
from jobd.store.store import Store
from tests.engine.harness import settings
from tests.store.test_hostile_rows import NOW

SETTINGS = settings(Path("/nowhere"), SECOND)
INSERT = "INSERT INTO job (id, name, \"interval\") VALUES ({}, 'slow', '1s')"


def begin(store: Store) -> Claimed:
    """A job that node 1 has claimed."""
    definitions.add(store, [Job("slow", "1s")], NOW, "UTC")
    (claimed,) = claim(store, 1)
    return claimed


def claim(store: Store, node: int, later: int = 0) -> list[Claimed]:
    return store.transact(lambda session: table.claim(session, node, "default", NOW + later, 10))


def write(store: Store, *statements: str) -> None:
    store.transact(lambda session: [session.execute(sql) for sql in statements] and None)


def look(store: Store, node: int, now: int = NOW) -> None:
    store.transact(ChangeApplier(node, now, "UTC", PLAIN).apply)


def finish(store: Store, one: Claimed) -> set[int]:
    done = one.state._replace(node=0, due=NOW + SECOND, ready=NOW + SECOND)
    return store.transact(
        lambda s: table.record(s, [ClaimUpdate(one.state.node, one.state.token, done, None, ())], NOW)
    )


def count(store: Store) -> int:
    return int(store.transact(lambda session: session.rows("SELECT count(*) FROM schedule"))[0][0])


def test_a_job_that_is_put_in_the_place_of_a_claimed_one_waits_for_it(store: Store) -> None:
    one = begin(store)
    job_id = one.state.job_id
    replace = ["DELETE FROM job", INSERT.format(job_id)]
    if store.dialect.name == "mysql":
        replace = ["REPLACE" + INSERT.format(job_id).removeprefix("INSERT")]
    write(store, *replace)
    for node in (1, 2):
        look(store, node)
        assert claim(store, node) == []
    assert finish(store, one) == {job_id}
    look(store, 1)
    (again,) = claim(store, 2, SECOND)
    assert again.state.token > one.state.token


def test_a_claimed_job_that_is_removed_is_deleted_when_its_node_has_released_it(store: Store) -> None:
    one = begin(store)
    write(store, "DELETE FROM job")
    assert finish(store, one) == {one.state.job_id}
    assert count(store) == 1
    assert claim(store, 2, SECOND) == []
    assert count(store) == 0


def test_a_claimed_job_that_is_removed_is_forgotten_with_its_node(store: Store) -> None:
    begin(store)
    write(store, "DELETE FROM job")
    store.transact(lambda session: release_claims(session, 1, {}, {}, NOW, SETTINGS, "its node died"))
    assert count(store) == 0


def test_tokens_continue_after_the_row_of_a_job_is_recreated(store: Store) -> None:
    one = begin(store)
    job_id = one.state.job_id
    write(store, "DELETE FROM schedule", f"INSERT INTO job_change (job_id, what) VALUES ({job_id}, 'run')")
    look(store, 1, NOW + SECOND)
    (again,) = claim(store, 1, SECOND)
    assert again.state.token > one.state.token
    assert finish(store, one) == set()
    write(store, "DELETE FROM schedule")
    definitions.change(store, "slow", lambda job: job._replace(retry_times=3), NOW + 2 * SECOND, "UTC")
    (third,) = claim(store, 1, 2 * SECOND)
    assert third.state.token > again.state.token


def test_a_token_at_its_maximum_restarts_and_does_no_harm(store: Store) -> None:
    """Regression: the next claim ended every daemon, or left the job invalid for ever."""
    definitions.add(store, [Job("good", "1s"), Job("slow", "1s")], NOW, "UTC")
    write(store, f"UPDATE schedule SET token = {2**63 - 1} WHERE job_id = (SELECT id FROM job WHERE name = 'slow')")
    claimed = claim(store, 1)
    assert sorted(one.job.name for one in claimed if one.job) == ["good", "slow"]
    for one in claimed:
        assert 0 < one.state.token <= MAX_COUNTER
        assert one.state.error is None
        assert finish(store, one) != set()
    write(store, f"UPDATE schedule SET token = {2**63 - 1}, node_id = 7")
    store.transact(lambda session: release_claims(session, 7, {}, {}, NOW, SETTINGS, "its node died"))
    assert len(claim(store, 2, SECOND)) == 2


def test_a_heartbeat_at_its_end_goes_on_moving(store: Store) -> None:
    node = store.transact(lambda s: nodes.register(s, "host", 7, "1", "instance", 5))
    write(store, f"UPDATE node SET heartbeat = {2**63 - 1}")
    seen = {2**63 - 1}
    for _ in range(3):
        assert store.transact(lambda session: nodes.beat(session, node))
        (row,) = store.transact(nodes.live)
        assert row.heartbeat not in seen
        seen.add(row.heartbeat)
