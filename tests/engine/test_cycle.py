"""One cycle of the keeper: its writes do not depend on each other."""

from pathlib import Path

from jobd.claim import ClaimUpdate, OutputPart
from jobd.clock import SECOND
from jobd.engine.cycle import CycleInput, run_cycle
from jobd.engine.demand import Capacity
from jobd.engine.takeover import DeadNode, release_dead
from jobd.job import DEFAULT_POOL, Job, JobState, Run
from jobd.store import definitions, nodes
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests import servers
from tests.engine.harness import settings

NOTHING_TO_DO = CycleInput(
    node=0, wall=0, claim_by=0, urgent_by=0, last_call_by=0, beat=False, read_peers=False, find_unregistered=False,
    updates=[], starts_to_record=[], printed=[], held={}, known_starts={}, full_pass=None, pools=None,
    capacities={}, shares={}, priorities={},
)  # fmt: skip


def test_the_last_output_displaces_earlier_output_in_the_same_cycle(tmp_path: Path) -> None:
    store = Store(parse_url(servers.sqlite_url(tmp_path)))

    def claimed(session: Session) -> tuple[int, JobState]:
        node = nodes.register(session, "host", 1, "1", "here", 1)
        session.execute("INSERT INTO job (name, runonce) VALUES ('prints', 1)")
        table.save_states(session, [JobState(1, due=10, ready=10, anchor=10)])
        session.execute("DELETE FROM job_change")
        return node, table.claim(session, node, "default", 20, 1)[0].state

    node, state = store.transact(claimed)
    run = Run(1, 1, 10, 20, 30, 1, "succeeded", node)
    after = state._replace(node=0, ready=None, number=2)
    end = ClaimUpdate(node, state.token, after, run, (OutputPart(1, 1, 1, 1, "the end", keep_from=1),))
    before = OutputPart(1, 1, 1, 0, "before", token=state.token)
    work = NOTHING_TO_DO._replace(node=node, wall=40, claim_by=50, updates=[end], printed=[before])
    store.transact(lambda session: run_cycle(session, work, settings(tmp_path, poll=1_000_000)))
    assert store.transact(lambda session: session.rows("SELECT text FROM output")) == [("the end",)]
    store.close()


def test_a_lost_run_is_recorded_with_the_due_time_that_its_task_received(tmp_path: Path) -> None:
    """The first due time of an interval is the moment of its claim, later than what its row said before."""
    store, added, claimed_at = Store(parse_url(servers.sqlite_url(tmp_path))), 100 * SECOND, 103 * SECOND
    chosen = settings(tmp_path, poll=1_000_000)
    definitions.add(store, [Job("ticks", interval="10s")], added, "UTC")
    node = store.transact(lambda session: nodes.register(session, "host", 1, "1", "here", 1))
    work = NOTHING_TO_DO._replace(
        node=node, wall=claimed_at, claim_by=claimed_at, urgent_by=claimed_at, last_call_by=claimed_at,
        capacities={DEFAULT_POOL: Capacity(1, 1, 0, 0)},
    )  # fmt: skip
    [claim] = store.transact(lambda session: run_cycle(session, work, chosen)).claims
    begun = {(claim.state.job_id, claim.state.token): claimed_at}

    def dies(session: Session) -> None:
        [row] = nodes.live(session)
        release_dead(session, DeadNode(row, "its node died"), begun, claimed_at + SECOND, chosen)

    store.transact(dies)
    assert claim.state.due == claimed_at
    assert store.transact(lambda session: session.rows("SELECT due_time, outcome FROM run")) == [(claimed_at, "lost")]
    store.close()
