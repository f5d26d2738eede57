"""Ready claims that wait for a worker during long runs are given back if other nodes serve the pool."""

from collections.abc import Callable

from jobd.claim import Claim, ClaimUpdate
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.budget import Budget
from jobd.engine.demand import Demand
from jobd.engine.processor import Processor, RunSettings
from jobd.job import Job, JobState
from jobd.wire import Order
from tests.engine.harness import START, FakeSpawner, FakeWorker, ManualClock, Ran, ignore_start, read_workers

POLL = SECOND
LONG = 10 * SECOND


class Pool:
    """A Processor with two workers, beside other nodes or not."""

    def __init__(self, shared: bool, takes: int = LONG) -> None:
        self.clock = ManualClock(START)
        self.fake_workers: list[FakeWorker] = []
        self.ran: list[Ran] = []
        self.takes: Callable[[Order], int] = lambda order: takes
        self.reported: list[object] = []
        self.processor = Processor(
            2,
            RunSettings("UTC", 1024),
            FakeSpawner(self),
            self.clock,
            lambda: 0.5,
            self.reported.append,
            ignore_start,
            Budget(),
        )
        self.processor.shared = shared
        self.pass_time(10 * MILLISECOND)

    def claim(self, *numbers: int, ready: int = START) -> None:
        for number in numbers:
            state = JobState(number, due=ready, ready=ready, anchor=ready, node=1, token=1)
            self.processor.queue.put(Claim(Job(f"job{number}", "1h", id=number), state), ready)

    def pass_time(self, duration: int) -> None:
        for _ in range(duration // MILLISECOND):
            self.clock.passed += MILLISECOND
            for fake_worker in self.fake_workers:
                if fake_worker.done_at is not None and fake_worker.done_at <= self.clock.passed:
                    fake_worker.finish()
            read_workers(self.processor)
            self.processor.step()

    def given_back(self) -> list[int]:
        return [
            one.state.job_id
            for one in self.reported
            if isinstance(one, ClaimUpdate) and one.run is None and not one.state.node
        ]


def test_claims_behind_long_runs_are_given_back_and_no_more_are_demanded() -> None:
    pool = Pool(shared=True)
    pool.claim(1, 2, 3, 4)
    pool.pass_time(90 * MILLISECOND)
    assert pool.given_back() == []
    pool.pass_time(150 * MILLISECOND)
    assert pool.given_back() == [3, 4]
    assert pool.processor.demand(POLL) == Demand(0, 0)
    assert len(pool.processor.workers.running()) == 2


def test_without_other_nodes_it_waits_here() -> None:
    pool = Pool(shared=False)
    pool.claim(1, 2, 3, 4)
    pool.pass_time(SECOND)
    assert pool.given_back() == []
    assert pool.processor.demand(POLL).most > 0


def test_waiting_claims_are_given_back_at_once_when_other_nodes_join() -> None:
    pool = Pool(shared=False)
    pool.claim(1, 2, 3, 4)
    pool.pass_time(SECOND)
    pool.processor.shared = True
    pool.pass_time(2 * MILLISECOND)
    assert pool.given_back() == [3, 4]


def test_a_claim_that_is_not_ready_stays() -> None:
    pool = Pool(shared=True)
    pool.claim(1, 2)
    pool.claim(3, ready=START + SECOND)
    pool.pass_time(SECOND)
    assert pool.given_back() == []
    pool.pass_time(SECOND)
    assert pool.given_back() == [3]


def test_after_a_long_run_a_pool_demands_only_one_claim_per_free_worker() -> None:
    pool = Pool(shared=True, takes=300 * MILLISECOND)
    pool.claim(1, 2, 3)
    pool.pass_time(350 * MILLISECOND)
    assert pool.given_back() == [3]
    assert pool.processor.demand(POLL).now == 2


def test_quick_runs_are_not_given_back_however_many_wait() -> None:
    pool = Pool(shared=True, takes=5 * MILLISECOND)
    pool.claim(*range(1, 101))
    pool.pass_time(SECOND)
    assert pool.given_back() == []
    assert len(pool.ran) == 100


def test_the_wait_ends_by_itself_when_it_has_been_too_long() -> None:
    pool = Pool(shared=True)
    pool.claim(1, 2, 3)
    pool.pass_time(20 * MILLISECOND)
    left = pool.processor.wait_us()
    assert left is not None
    assert left <= 100 * MILLISECOND
