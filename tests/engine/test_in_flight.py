"""A job that is in flight here starts again only after that run has ended, also when the tables are edited."""

from pathlib import Path
from typing import Any

import pytest

from jobd.claim import Claim, ClaimUpdate
from jobd.clock import SECOND
from jobd.engine.budget import Budget
from jobd.engine.messages import Abandoned, Unresolved
from jobd.engine.processor import Processor, RunSettings
from jobd.job import Job, JobState, Options
from jobd.lifecycle import UNRESOLVED_PAUSE
from jobd.wire import UNRESOLVED, Order
from tests.engine.harness import (
    START,
    FakeSpawner,
    FakeWorker,
    ManualClock,
    NodeHarness,
    Ran,
    ignore_start,
    read_workers,
)

TAKES = 3 * SECOND


class Watched(NodeHarness):
    """A world in which every beginning is watched."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, poll=SECOND)
        self.began: list[Order] = []
        self.takes = self._begin

    def _begin(self, order: Order) -> int:
        inhand = [one.order.job for one in self.fake_workers if one.order is not None]
        assert inhand.count(order.job) == 1, f"{order.job} overlaps itself"
        self.began.append(order)
        return TAKES

    def write(self, *statements: str) -> None:
        """Another program writes."""
        self.store.transact(lambda session: [session.execute(sql) for sql in statements] and None)

    def one(self, sql: str) -> object:
        return self.store.transact(lambda session: session.rows(sql))[0][0]


INSERT = "INSERT INTO job (id, name, \"interval\") VALUES (1, 'slow', '1s')"
REMOVALS = {
    "replaced": ["REPLACE" + INSERT.removeprefix("INSERT")],
    "deleted and inserted": ["DELETE FROM job WHERE id = 1", INSERT],
    "its schedule deleted": ["DELETE FROM schedule", "UPDATE job SET retry_times = retry_times + 1"],
    "its schedule replaced": ["DELETE FROM schedule", "INSERT INTO job_change (job_id, what) VALUES (1, 'run')"],
    "set free": ["UPDATE schedule SET node_id = 0, ready_time = 1"],
}


@pytest.mark.parametrize("how", REMOVALS)
def test_a_job_whose_rows_are_exchanged_under_its_run_waits_for_its_end(tmp_path: Path, how: str) -> None:
    harness = Watched(tmp_path)
    harness.add(Job("slow", "1s"))
    harness.pass_time(SECOND)
    for _ in range(2):
        harness.write(*REMOVALS[how])
        harness.pass_time(2 * SECOND)
    harness.pass_time(4 * TAKES)
    tokens = [order.token for order in harness.began]
    assert len(tokens) >= 4, "it goes on"
    assert tokens == sorted(set(tokens)), "tokens only grow"


def test_a_run_whose_job_is_removed_ends_in_peace_and_leaves_only_its_history(tmp_path: Path) -> None:
    harness = Watched(tmp_path)
    harness.add(Job("slow", "1s"))
    harness.pass_time(SECOND)
    harness.write("DELETE FROM job")
    harness.pass_time(4 * TAKES)
    assert len(harness.began) == 1
    assert harness.one("SELECT count(*) FROM run WHERE outcome = 'succeeded'") == 1
    assert harness.one("SELECT count(*) FROM schedule") == 0


class Pools:
    """Two pools of one node, each with one worker, and what they report."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.ran: list[Ran] = []
        self.fake_workers: list[FakeWorker] = []
        self.reports: list[object] = []
        self.in_flight: set[int] = set()
        run_settings = RunSettings("UTC", 1024)
        self.first, self.second = (
            Processor(
                1,
                run_settings,
                FakeSpawner(self),
                self.clock,
                lambda: 0.5,
                self.reports.append,
                ignore_start,
                Budget(),
                self.in_flight,
            )
            for _ in range(2)
        )
        self.step()

    def takes(self, order: Order) -> int:
        return TAKES

    def give(self, pool: Processor, token: int, **options: Any) -> None:
        """A job, claimed under this token, is due."""
        job = Job("slow", "1s", retry_times=9, id=1, options=Options(**options))
        pool.queue.put(Claim(job, JobState(1, START, START, anchor=START, node=1, token=token)), START)
        self.step()

    def step(self) -> None:
        for pool in (self.first, self.second):
            read_workers(pool)
            pool.step()
            read_workers(pool)
            pool.step()

    def running(self) -> list[int]:
        """The tokens of what runs."""
        return [one.order.token for one in self.fake_workers if one.order is not None]

    def end(self, outcome: str = "succeeded") -> None:
        """What runs ends."""
        for one in self.fake_workers:
            if one.order is not None:
                one.finish(outcome)
        self.step()


def test_a_newer_claim_waits_for_the_end_of_the_run_also_in_another_pool() -> None:
    pools = Pools()
    pools.give(pools.first, 1)
    pools.give(pools.second, 2)
    assert pools.running() == [1]
    assert pools.second.wait_us() is None
    assert pools.second.holding() == 1
    pools.end()
    assert pools.running() == [2]


def test_a_run_whose_job_has_a_newer_claim_is_not_retried() -> None:
    pools = Pools()
    pools.give(pools.first, 1)
    pools.give(pools.first, 2)
    assert pools.running() == [1]
    pools.end("failed")
    assert pools.running() == [2]
    pools.end("failed")
    assert pools.running() == [2], "this one is"


@pytest.mark.parametrize("how", ["recall", "cancel", "drain", "forget"])
def test_claims_that_wait_for_the_end_of_a_run_are_given_back_like_queued_ones(how: str) -> None:
    pools = Pools()
    pools.give(pools.first, 1)
    pools.give(pools.second, 2)
    pools.reports.clear()
    match how:
        case "recall":
            pools.second.recall(1)
        case "cancel":
            pools.second.cancel(1)
        case "drain":
            pools.second.give_back_all()
        case "forget":
            pools.second.abandon_all("it is over")
    (report,) = pools.reports
    if how == "forget":
        assert report == Abandoned({1: (2, None)})
    else:
        assert isinstance(report, ClaimUpdate)
        assert (report.token, report.state.node) == (2, 0)
    assert pools.second.holding() == 0
    pools.end()
    assert pools.running() == []


def test_a_released_claim_is_not_waited_for_and_a_newer_one_stays() -> None:
    pools = Pools()
    pools.give(pools.first, 1)
    pools.give(pools.first, 2)
    pools.first.abandon(1, 2, "it is gone")
    pools.end()
    assert pools.running() == []
    pools.give(pools.first, 3)
    pools.give(pools.first, 4)
    pools.first.abandon(1, 3, "it is gone")
    assert pools.first.holding() == 1


def test_a_run_of_a_worker_with_an_invalid_message_is_in_flight_until_its_process_is_dead() -> None:
    pools = Pools()
    pools.first.pace.duration = 10  # µs: a worker is given the second order while it runs the first
    for job_id in (1, 2):
        job = Job(f"job{job_id}", "1s", id=job_id)
        pools.first.queue.put(Claim(job, JobState(job_id, START, START, anchor=START, node=1, token=job_id)), START)
    pools.step()
    (worker,) = pools.first.workers
    (fake_worker,) = (one for one in pools.fake_workers if one.order is not None)
    fake_worker.finish()
    fake_worker.send_bytes(b"nonsense")
    assert pools.running() == [2]
    read_workers(pools.first)
    pools.reports.clear()
    pools.first.abandon_all("the lease is over")
    pools.first.handle(worker, "ended")
    abandoned = [one.claims for one in pools.reports if isinstance(one, Abandoned)]
    began = {job_id: started for claims in abandoned for job_id, (_, started) in claims.items()}
    assert began == dict.fromkeys((1, 2), pools.clock.wall()), "both may have begun"
    assert not pools.in_flight


@pytest.mark.parametrize("reloaded", [False, True], ids=["with the plugins of now", "with those before a reload"])
def test_a_task_that_only_a_worker_of_before_a_reload_does_not_know_is_offered_at_once(reloaded: bool) -> None:
    pools = Pools()
    pools.give(pools.first, 1)
    if reloaded:
        pools.first.renew_workers(1, RunSettings("UTC", 1024), FakeSpawner(pools))
    pools.reports.clear()
    pools.end(UNRESOLVED)
    (report,) = pools.reports
    if reloaded:
        assert isinstance(report, ClaimUpdate)
        assert (report.state.node, report.state.ready, report.state.error) == (0, START, None)
    else:
        assert isinstance(report, Unresolved)
        assert report.update.state.ready == pools.clock.wall() + UNRESOLVED_PAUSE


def test_messages_that_a_worker_sent_before_a_reload_are_handled_before_it() -> None:
    pools = Pools()
    pools.give(pools.first, 1)
    pools.reports.clear()
    (fake_worker,) = (one for one in pools.fake_workers if one.order is not None)
    fake_worker.finish(UNRESOLVED)
    read_workers(pools.first)
    pools.first.renew_workers(1, RunSettings("UTC", 1024), FakeSpawner(pools))
    (report,) = pools.reports
    assert isinstance(report, Unresolved)


def test_a_task_is_unknown_in_either_order_of_the_answer_and_the_workers_end() -> None:
    pools = Pools()
    pools.give(pools.first, 1)
    pools.reports.clear()
    (worker,) = pools.first.workers
    (fake_worker,) = (one for one in pools.fake_workers if one.order is not None)
    fake_worker.finish(UNRESOLVED)
    pools.first.handle(worker, "ended")
    pools.step()
    (report,) = pools.reports
    assert isinstance(report, Unresolved)
