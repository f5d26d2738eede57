"""Several nodes in simulated time: each runs its share.

No job is late because it changes nodes. A job that one node cannot run does not wait for that node.
"""

from collections import Counter
from functools import partial
from itertools import pairwise

import pytest

from jobd.clock import MILLISECOND, SECOND, iso
from jobd.engine.share import MAX_READY_WAIT, MAX_WAITING_WORK
from jobd.job import Options
from jobd.wire import Order
from tests.simulation.cluster import SimCluster
from tests.simulation.fake_workers import Act
from tests.simulation.node import EPOCH, Node

JOIN = 3 * SECOND
STEADY_AFTER = 5 * SECOND  # after the last node has joined
END = JOIN + STEADY_AFTER + 12 * SECOND
PUNCTUAL = MILLISECOND
JOBS = 20


class Scenario(SimCluster):
    """One node has work for three when two more nodes join."""

    def __init__(self, seed: int, interval: str, jobs: int = JOBS) -> None:
        super().__init__(seed)
        self.settings = self.settings._replace(poll=SECOND, lease=30 * SECOND, pools={"default": 20})
        self.nodes = [Node(self, number) for number in (1, 2, 3)]
        self.edits_tables = self.clocks_moved = self.small_buffers = self.with_priorities = False
        self.interval, self.jobs = interval, jobs
        self.lacking: set[int] = set()  # nodes whose plugins lack the task of the jobs

    def _add_one(self, number: int, options: Options) -> None:
        self._add(self._job(f"job{number}", self.interval, options, self._brief))

    def run(self) -> None:
        options = Options(pool="default")
        first, *others = self.nodes
        for number in range(self.jobs):
            self.events.after(
                self.random.randrange(SECOND),
                partial(self._add_one, number, options),
            )
        first.start()
        for node in others:
            self.events.at(JOIN + self.random.randrange(SECOND), node.start)
        self.events.run(END)

    def _brief(self, order: Order) -> Act:
        if self.checks.began[-1].node in self.lacking:
            return Act(100, "unresolved")
        return Act(self.random.randrange(2 * MILLISECOND), "succeeded")

    def spread(self) -> Counter[int]:
        """The number of runs that each node started after STEADY_AFTER."""
        return Counter(began.node for began in self.checks.began if began.at >= JOIN + STEADY_AFTER)

    def late(self, since: int = SECOND) -> list[tuple[str, int, float]]:
        """The runs that started late, and by how many ms; a job that is due immediately is always a little late."""
        runs = self.database.rows(
            "SELECT name, number, (started_time - due_time) / 1e3 FROM run JOIN job ON job.id = job_id"
            " WHERE number > 1 AND started_time > due_time + ? AND due_time > ?",
            (PUNCTUAL, EPOCH + since),
        )
        return [(str(name), int(number), float(late)) for name, number, late in runs]


def assert_even(spread: Counter[int], nodes: list[int], within: float = 0.2) -> None:
    fair = sum(spread.values()) / len(nodes)
    assert set(spread) == set(nodes)
    for node in nodes:
        assert abs(spread[node] - fair) <= within * fair, spread


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("interval", ["100ms", "200ms", "500ms", "1s"])
def test_each_node_soon_runs_its_share_and_no_run_is_late(interval: str, seed: int) -> None:
    scenario = Scenario(seed, interval)
    scenario.run()
    assert_even(scenario.spread(), [1, 2, 3])
    assert scenario.late() == []


@pytest.mark.parametrize("seed", range(5))
def test_each_node_runs_its_share_of_rare_jobs(seed: int) -> None:
    """The shares are less even: a node's share depends on how many jobs are in play when it claims."""
    scenario = Scenario(seed, "3s")
    scenario.run()
    assert_even(scenario.spread(), [1, 2, 3], within=0.4)
    assert scenario.late() == []


@pytest.mark.parametrize("interval", ["200ms", "500ms", "1s"])
def test_a_node_with_twice_the_workers_runs_twice_as_much(interval: str) -> None:
    scenario = Scenario(1, interval)
    scenario.nodes[0].settings = scenario.settings._replace(pools={"default": 40})
    scenario.run()
    spread = scenario.spread()
    assert 0.8 < spread[1] / (spread[2] + spread[3]) < 1.25, spread
    assert scenario.late() == []


@pytest.mark.parametrize("interval", ["200ms", "500ms", "1s"])
def test_a_node_without_the_pool_has_no_share_in_it(interval: str) -> None:
    scenario = Scenario(1, interval)
    scenario.nodes[2].settings = scenario.settings._replace(pools={"other": 8})
    scenario.run()
    assert_even(scenario.spread(), [1, 2])
    assert scenario.late() == []


@pytest.mark.parametrize("interval", ["200ms", "500ms", "1s"])
def test_other_nodes_run_the_share_of_a_frozen_node_in_time(interval: str) -> None:
    scenario = Scenario(1, interval)
    frozen = scenario.nodes[1]
    at = JOIN + STEADY_AFTER
    scenario.events.at(at, lambda: frozen.freeze(10**12, whole=True))
    scenario.run()
    rows = scenario.database.rows(
        "SELECT name FROM job JOIN schedule ON job.id = job_id WHERE node_id = ?", (frozen.engine.node,)
    )
    held = {str(name) for (name,) in rows}  # these wait for the lease
    assert held
    assert [one for one in scenario.late() if one[0] not in held] == []
    ran = {began.job for began in scenario.checks.began if began.node != frozen.number and began.at > at + 3 * SECOND}
    assert ran == {f"job{number}" for number in range(JOBS)} - held


@pytest.mark.parametrize("lacking", [{2}, {2, 3}, {1}])
@pytest.mark.parametrize("interval", ["200ms", "1s"])
def test_a_node_leaves_jobs_without_a_task_to_the_others(interval: str, lacking: set[int]) -> None:
    scenario = Scenario(1, interval)
    scenario.lacking = lacking
    scenario.run()
    tries = Counter((began.node, began.job) for began in scenario.checks.began if began.node in lacking)
    assert max(tries.values()) <= 2  # one before it knew of the others, and one afterwards
    last = max(began.at for began in scenario.checks.began if began.node in lacking)
    ran = {began.node for began in scenario.checks.began if began.at > last}
    assert ran == {1, 2, 3} - lacking
    assert scenario.late(last + 2 * SECOND) == []


@pytest.mark.parametrize("row", ["as it was", "made anew"])
@pytest.mark.parametrize("asked", ["resume", "run"])
def test_a_job_without_a_task_on_any_node_is_tried_again_at_once_on_request(asked: str, row: str) -> None:
    scenario = Scenario(1, "1s", jobs=1)
    scenario.lacking = {1, 2, 3}
    at = JOIN + STEADY_AFTER

    def ask() -> None:
        if row == "made anew":  # a user has deleted the row
            scenario._store.transact(lambda session: session.execute("DELETE FROM schedule") and None)
        scenario._do(asked, "job0", EPOCH + at)

    scenario.events.at(at, ask)
    scenario.run()
    tries = [began.at for began in scenario.checks.began]
    assert any(at <= moment <= at + scenario.settings.poll + SECOND // 2 for moment in tries), tries


def test_nodes_with_their_share_check_no_more_than_once_a_poll() -> None:
    """A cycle costs a commit. With one job a minute each, three nodes have little to do."""
    scenario = Scenario(1, "10s", jobs=3)
    scenario.run()
    seconds = END // SECOND
    assert scenario.database.commits < 3 * 3 * seconds


@pytest.mark.parametrize("seed", range(3))
def test_claims_do_not_move_between_nodes_repeatedly(seed: int) -> None:
    scenario = Scenario(seed, "500ms")
    scenario.run()
    nodes: dict[str, list[int]] = {}
    for began in scenario.checks.began:
        if began.at >= JOIN + STEADY_AFTER:
            nodes.setdefault(began.job, []).append(began.node)
    changes = sum(a != b for its in nodes.values() for a, b in pairwise(its))
    assert changes <= 0.02 * sum(map(len, nodes.values()))


class Crowded(Scenario):
    """Three nodes with two workers each, three hundred jobs that are due at the same time, and thirty urgent ones."""

    def __init__(self, seed: int, urgent_at: int) -> None:
        super().__init__(seed, "")
        self.settings = self.settings._replace(pools={"default": 2})
        self.urgent_at = urgent_at

    def run(self) -> None:
        for node in self.nodes:
            node.start()
        self.events.at(JOIN, lambda: self._add_once("plain", PLAIN, 0))
        self.events.at(self.urgent_at, lambda: self._add_once("urgent", URGENT, 1))
        self.events.run(END)

    def _add_once(self, kind: str, count: int, priority: int) -> None:
        options = Options(pool="default", priority=priority)
        due = f"at {iso(EPOCH + DUE)}"
        self._add(*(self._job(f"{kind}{number}", due, options, self._takes_long) for number in range(count)))

    def _takes_long(self, order: Order) -> Act:
        return Act(20 * MILLISECOND, "succeeded")


PLAIN, URGENT = 300, 30
DUE = JOIN + 2 * SECOND


@pytest.mark.parametrize("seed", range(5))
def test_jobs_that_become_urgent_start_on_all_nodes_before_all_others(seed: int) -> None:
    scenario = Crowded(seed, DUE + SECOND // 4)
    scenario.run()
    begun = [began for began in scenario.checks.began if began.at >= scenario.urgent_at]
    assert {began.job.rstrip("0123456789") for began in begun[:URGENT]} == {"urgent"}
    assert {began.node for began in begun[:URGENT]} == {1, 2, 3}


@pytest.mark.parametrize("seed", range(5))
def test_urgent_jobs_that_one_node_has_claimed_ahead_wait_there_no_longer_than_others_may(seed: int) -> None:
    scenario = Crowded(seed, DUE - SECOND)
    scenario.run()
    moments = [began.at for began in scenario.checks.began if began.job.startswith("urgent")]
    assert len(moments) == URGENT
    assert max(moments) <= DUE + MAX_READY_WAIT + MAX_WAITING_WORK
