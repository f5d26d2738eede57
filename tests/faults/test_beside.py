"""Three real daemons share the work of one database, of each kind, also after one of them has died."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobd.clock import SECOND
from jobd.errors import DatabaseUnavailable
from jobd.store.store import Store
from tests.faults.helpers import PLUGIN, noted
from tests.installation import Installation, until

JOBS, EVERY = 20, "500ms"
PROMISED = 2.0  # seconds, until the jobs of a dead neighbour run again
WATCHED = 3  # seconds
RECORDED = 0.5  # seconds, until what began last is in the history: all jobs are due at once, a sixth of what is counted

Rows = list[tuple[int, int]]
pytestmark = pytest.mark.quiet


class Three:
    """Three daemons. The first one has all the work when the others start."""

    def __init__(self, installations: list[Installation], store: Store) -> None:
        self.installations = installations
        self._store = store

    def begin(self, pools: str = "", last_pools: str = "", pool: str = "default") -> None:
        """Start them; what `pools` says of all but the last one's workers, `last_pools` says of its."""
        for installation in self.installations:
            installation.configure(last_pools if installation is self.installations[-1] else pools, 2)
        jobs = "".join(
            f'[job.job{number}]\ntask = "quick"\ninterval = "{EVERY}"\npool = "{pool}"\n' for number in range(JOBS)
        )
        self.installations[0].foreground()
        (self.installations[0].folder / "jobs.toml").write_text(jobs)
        self.installations[0].fine("apply", str(self.installations[0].folder / "jobs.toml"), "--yes")
        for installation in self.installations[1:]:
            installation.foreground()

    def rows(self, sql: str, parameters: tuple[int, ...] = ()) -> Rows:
        """What a query gives; of three daemons and this test, only one at a time has an SQLite file."""
        for _ in range(4):
            with contextlib.suppress(DatabaseUnavailable):
                return self._store.transact(lambda session: session.rows(sql, parameters))
        raise AssertionError("the database is never free")

    def spread(self) -> Counter[int]:
        """How many of the runs of the next seconds each node has."""
        since = time.time_ns() // 1000
        time.sleep(WATCHED + RECORDED)
        began = "SELECT node_id, count(*) FROM run WHERE started_time > ? AND started_time <= ? GROUP BY node_id"
        return Counter(dict(self.rows(began, (since, since + WATCHED * SECOND))))

    def node(self, number: int) -> int:
        node: int = self.installations[number].status()["node"]
        return node


@pytest.fixture
def three(database: str, tmp_path: Path, open_store: Callable[[str], Store]) -> Iterator[Three]:
    installations = [Installation(tmp_path / f"home{number}", database, PLUGIN) for number in range(3)]
    yield Three(installations, open_store(database))
    for installation in installations:
        installation.close()


def assert_even(spread: Counter[int], nodes: list[int]) -> None:
    fair = sum(spread.values()) / len(nodes)
    assert set(spread) == set(nodes), spread
    assert all(abs(spread[node] - fair) <= 0.2 * fair for node in nodes), spread
    assert sum(spread.values()) >= 0.9 * WATCHED * 2 * JOBS, spread


def test_three_nodes_soon_run_a_third_each_and_when_one_is_killed_its_jobs_run_on(three: Three) -> None:
    three.begin()
    time.sleep(4)
    nodes = [three.node(number) for number in range(3)]
    assert_even(three.spread(), nodes)
    three.installations[0].processes[-1].kill()
    killed = time.time_ns() // 1000
    running = "SELECT count(DISTINCT job_id) FROM run WHERE started_time > ? AND node_id <> ?"
    until(lambda: three.rows(running, (killed, nodes[0]))[0][0] == JOBS, "the run of all jobs")
    assert time.time_ns() // 1000 - killed < PROMISED * SECOND
    time.sleep(2)
    assert_even(three.spread(), nodes[1:])


def test_a_node_without_the_pool_leaves_it_to_the_others(three: Three) -> None:
    pool = "[pool.own]\nworkers = 2\n"
    three.begin(pools=pool, pool="own")
    time.sleep(4)
    assert_even(three.spread(), [three.node(0), three.node(1)])


SHORTS = 10


def test_jobs_behind_long_runs_start_on_the_other_node_within_a_second(
    database: str, tmp_path: Path, open_store: Callable[[str], Store]
) -> None:
    installations = [Installation(tmp_path / f"home{number}", database, PLUGIN) for number in range(2)]
    store = open_store(database)
    try:
        busy, free = installations
        for installation in installations:
            installation.configure("", 2, 'poll = "500ms"')
        busy.foreground()
        busy.fine("add", "gated1", "--task", "gated", "--once")
        busy.fine("add", "gated2", "--task", "gated", "--once")
        noted(busy, "began", 2)
        apply_shorts(busy, "before")
        claimed = "SELECT count(*) FROM schedule WHERE node_id <> 0"
        until(lambda: store.transact(lambda s: s.rows(claimed)) == [(2 + SHORTS,)], "the claims of the busy node")
        free.foreground()
        wait_for_runs(store, SHORTS)
        apply_shorts(busy, "after")
        wait_for_runs(store, 2 * SHORTS)
        where = "SELECT DISTINCT node_id FROM run"
        assert store.transact(lambda s: s.rows(where)) == [(free.status()["node"],)]
        late = "SELECT max(started_time - due_time) FROM run JOIN job ON job.id = run.job_id WHERE job.name LIKE ?"
        ((longest,),) = store.transact(lambda s: s.rows(late, ("after%",)))
        assert longest < SECOND
    finally:
        (busy.folder / "open").touch()
        for installation in installations:
            installation.close()


def apply_shorts(installation: Installation, name: str) -> None:
    file = installation.folder / f"{name}.toml"
    file.write_text("".join(f'[job.{name}{n}]\ntask = "quick"\nrunonce = true\n' for n in range(SHORTS)))
    installation.fine("apply", str(file), "--yes")


def wait_for_runs(store: Store, count: int) -> None:
    until(lambda: store.transact(lambda s: s.rows("SELECT count(*) FROM run")) == [(count,)], f"{count} runs")
