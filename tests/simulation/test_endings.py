"""A run that is stopped without a record has ended only when its process is dead.

Until then its node keeps the claim. When the node signs off, the runs that had started are recorded as lost.
"""

import pytest

from jobd.clock import MILLISECOND, SECOND
from jobd.engine import outage
from jobd.engine.keeper import SIGN_OFF_TIMEOUT, Keeper
from jobd.engine.messages import Abandoned, Drain, ToKeeper
from jobd.job import Options
from jobd.wire import Order
from tests.simulation import fake_workers, network
from tests.simulation.cluster import SimCluster
from tests.simulation.fake_workers import KILL_TAKES, Act
from tests.simulation.node import Node

JOINS = SECOND  # when the second node starts: the first has started all runs
EDIT_AT = 3 * SECOND  # when the manual edit is made
KILLING = SECOND  # the time until a killed process is dead
END = 120 * SECOND
JOBS = ("rerun", "fail")  # the names of the jobs, and their `on_lost`
MOVED = "UPDATE schedule SET token = token + 7"
UNSTARTED = MOVED + ", started_time = NULL"
UNSOUND = f"UPDATE schedule SET token = {2**63 - 1}"

sign_off = Keeper._sign_off


class Scenario(SimCluster):
    """Two nodes; the first runs a job of each kind."""

    def __init__(self) -> None:
        super().__init__(1)
        self.settings = self.settings._replace(stop_timeout=10 * SECOND, on_db_loss="kill")
        self.nodes = [Node(self, number) for number in (1, 2)]
        self.acts: list[Act] = []  # the behaviour of the first runs of "rerun"; all other runs never end
        self.edits_tables = True  # tokens are edited manually

    def run(self) -> None:
        self._add(*(self._job(how, None, Options(on_lost=how), self._lasts, runonce=True, retries=9) for how in JOBS))
        self.nodes[0].start()
        self.events.at(JOINS, self.nodes[1].start)
        self.events.run(END)

    def _lasts(self, order: Order) -> Act:
        return self.acts.pop() if self.acts and order.job == "rerun" else Act(10**9, "never")

    def write(self, sql: str) -> None:
        """Edit the database with SQL."""
        self._store.transact(lambda session: session.execute(sql) and None)

    def beat(self) -> None:
        """Let the first node compare its claims with the table now."""
        self.send(Abandoned({}))

    def send(self, message: ToKeeper) -> None:
        """Send the keeper of the first node a message."""
        self.nodes[0].engine.keeper.inbox.put(message)

    def lease_ends(self) -> None:
        """End the first node's lease."""
        for processor in self.nodes[0].engine.pools:
            processor.abandon_all("the lease is over")

    def sign_off(self, its: Keeper) -> None:
        """Let the first node sign off, just after the database has come back."""
        self.nodes[0].line.cut = False
        sign_off(its)

    def began(self, job: str) -> list[int]:
        """The start of each run of a job."""
        return [one.at for one in self.checks.began if one.job == job]

    def outcomes(self) -> list[tuple[str, str]]:
        """The jobs and outcomes of the history."""
        sql = "SELECT name, outcome FROM run JOIN job ON job.id = job_id ORDER BY name"
        return [(str(name), str(outcome)) for name, outcome in self.database.rows(sql)]


@pytest.fixture(autouse=True)
def _dying_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_workers.FakeWorker, "end", lambda self: self.node.own(KILLING, self.die))


@pytest.mark.parametrize("token", [MOVED, UNSTARTED, UNSOUND])
def test_a_run_that_is_being_ended_is_not_released_at_an_early_heartbeat(token: str) -> None:
    scenario = Scenario()
    scenario.events.at(EDIT_AT, lambda: scenario.write(token))
    scenario.events.at(EDIT_AT, lambda: scenario.send(Drain()))  # so that the other node takes the job
    for step in range(40):
        scenario.events.at(EDIT_AT + step * SECOND // 20, scenario.beat)
    scenario.run()
    assert len(scenario.began("rerun")) == 2
    assert all(at >= EDIT_AT + KILLING for job in JOBS for at in scenario.began(job)[1:])


@pytest.mark.parametrize("token", [MOVED, UNSTARTED, UNSOUND])
def test_a_node_does_not_leave_while_its_runs_are_being_ended(token: str) -> None:
    scenario = Scenario()
    scenario.events.at(EDIT_AT, lambda: scenario.write(token))
    scenario.events.at(EDIT_AT, scenario.beat)
    scenario.events.at(EDIT_AT + SECOND // 10, lambda: scenario.nodes[0].stop(now=False))
    scenario.run()
    assert len(scenario.began("rerun")) == 2
    assert all(at >= EDIT_AT + KILLING for job in JOBS for at in scenario.began(job)[1:])


@pytest.mark.parametrize("back_at_the_end", [False, True])
def test_a_run_ended_with_the_lease_is_lost_also_when_its_node_leaves_at_that_moment(
    back_at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job with `on_lost = "fail"` is not run again, and the other one is."""
    scenario = Scenario()
    if back_at_the_end:  # the database is unavailable until the node stops waiting for it
        scenario.settings = scenario.settings._replace(lease=3 * SIGN_OFF_TIMEOUT)
        scenario.events.at(EDIT_AT, lambda: setattr(scenario.nodes[0].line, "cut", True))
        monkeypatch.setattr(Keeper, "_sign_off", lambda its: scenario.sign_off(its))
    scenario.events.at(EDIT_AT, scenario.lease_ends)
    scenario.events.at(EDIT_AT, lambda: scenario.nodes[0].stop(now=False))
    scenario.run()
    assert scenario.outcomes() == [("fail", "lost"), ("rerun", "lost")]
    assert [len(scenario.began(job)) for job in JOBS] == [2, 1]


@pytest.mark.parametrize("since", range(0, 2000, 200))
def test_a_retry_whose_claim_has_passed_on_is_ended_before_another_node_runs_it(since: int) -> None:
    """Its result is refused `since` ms after EDIT_AT, at any point between two heartbeats; by then it runs again."""
    moved = EDIT_AT + since * MILLISECOND
    scenario = Scenario()
    scenario.acts = [Act(moved + SECOND // 20, "failed")]
    scenario.events.at(moved, lambda: scenario.write(MOVED))
    scenario.events.at(moved + SECOND // 2, lambda: scenario.send(Drain()))
    scenario.run()
    assert len(scenario.began("rerun")) in (2, 3)


def test_a_node_that_was_alone_ends_runs_that_others_took_over_as_soon_as_it_sees_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With on_db_loss = "finish" it may continue until then (docs/reliability.md), so the checks allow it."""
    monkeypatch.setattr(fake_workers.FakeWorker, "end", lambda self: self.node.own(KILL_TAKES, self.die))
    monkeypatch.setattr(network, "DEADLINE", MILLISECOND)
    monkeypatch.setattr(outage, "RETRY_LAST", MILLISECOND)
    taken_over = cut_off(mended_at=END).began("rerun")[1]
    scenario = cut_off(mended_at=taken_over - KILL_TAKES)
    again = scenario.began("rerun")[1]
    (end,) = [float(line.split()[0]) for line in scenario.trace_lines if "rerun #1 ends on 1: killed" in line]
    assert again / SECOND < end <= (again + KILL_TAKES) / SECOND


def cut_off(mended_at: int) -> Scenario:
    """The first node is cut off when it is alone, and a manual edit has removed its claims."""
    scenario = Scenario()
    scenario.settings = scenario.settings._replace(on_db_loss="finish")
    scenario.events.at(JOINS - 2, lambda: setattr(scenario.nodes[0].line, "cut", True))
    scenario.events.at(JOINS - 1, lambda: scenario.write("UPDATE schedule SET node_id = 99"))
    scenario.events.at(JOINS - 1, lambda: scenario.write("DELETE FROM node"))
    scenario.events.at(mended_at, lambda: setattr(scenario.nodes[0].line, "cut", False))
    scenario.run()
    return scenario
