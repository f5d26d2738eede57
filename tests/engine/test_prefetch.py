"""Each order prefetched behind a run is either taken by the worker or revoked, never both and never neither."""

from collections import deque
from pathlib import Path
from typing import Any

from jobd.claim import Claim
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.budget import Budget
from jobd.engine.orders import MAX_PREFETCH
from jobd.engine.worker import Worker
from jobd.job import Job, JobState, Options
from jobd.ring import MAX_ORDER, SLOTS
from jobd.wire import Order, decode, decode_order, encode, encode_order
from tests.engine.harness import NodeHarness

QUICK, SLOW = MILLISECOND // 10, SECOND


class Line:
    """A worker process. The test decides which orders it takes, and when."""

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque()
        self.said: deque[bytes] = deque()
        self.open = 0  # how many of those sent it may take

    def send(self, packet: bytes) -> None:
        self.sent.append(packet)

    def flush(self) -> bool:
        self.open = len(self.sent)
        return True

    def revoke(self) -> int:
        count = len(self.sent)
        self.sent.clear()
        self.open = 0
        return count

    def takes(self) -> int:
        """The process takes the next order; its serial number."""
        assert self.open
        self.open -= 1
        return decode_order(decode(self.sent.popleft())).serial

    def ends(self, serial: int) -> None:
        self.said.append(encode("done", serial, "succeeded", None, None, False, "5" * 32))


def claim(number: int) -> Claim:
    return Claim(Job(f"job{number}", id=number), JobState(number, due=0, ready=0))


def worker_with(count: int) -> tuple[Worker, Any]:
    """A worker that has been given items 1 to `count`, and its process."""
    line = Line()
    worker = Worker(line, 1024, 50 * MILLISECOND, Budget())  # type: ignore[arg-type]
    for number in range(1, count + 1):
        order = Order(number, f"job{number}", 1, "task", None, {}, 0, 1, None, 1)
        assert worker.start(claim(number), order, 0, 0)
    line.flush()
    return worker, line


def test_output_attributed_to_a_revoked_run_is_given_back() -> None:
    """It receives all output that the worker printed before the run began."""
    worker, _ = worker_with(1)
    assert worker.execution is not None
    worker.execution.output.feed(b"x" * 500 + b"\n")
    assert worker._budget.used > 500
    worker.revoke_prefetched(0, 0)
    assert worker._budget.used == 0


def in_hand(worker: Worker) -> list[int]:
    return [one.job.id for one in worker.claims()]


def test_orders_that_were_not_taken_are_revoked() -> None:
    worker, line = worker_with(4)
    line.takes()
    assert [one.job.id for one in worker.revoke_prefetched(0, 0)] == [2, 3, 4]
    assert in_hand(worker) == [1]


def test_an_order_that_was_taken_meanwhile_stays_and_keeps_its_slot() -> None:
    worker, line = worker_with(4)
    assert line.takes() == 1
    line.ends(1)
    assert line.takes() == 2
    assert [one.job.id for one in worker.revoke_prefetched(0, 0)] == [3, 4]
    assert in_hand(worker) == [1, 2]
    assert worker.parse_message(line.said.popleft()) is not None
    assert worker.finish(0, 0).claim.job.id == 1
    line.ends(2)
    assert worker.parse_message(line.said.popleft()) is not None
    assert worker.finish(0, 0).claim.job.id == 2
    assert worker.load() == 0


def test_orders_that_were_prefetched_and_not_sent_are_revoked() -> None:
    worker, line = worker_with(0)
    for number in range(1, 4):
        worker.start(claim(number), Order(number, f"job{number}", 1, "task", None, {}, 0, 1, None, 1), 0, 0)
    assert line.takes() == 1
    assert not line.open, "a line that is let out order by order costs a system call each"
    assert [one.job.id for one in worker.revoke_prefetched(0, 0)] == [2, 3]


def test_an_order_that_was_never_taken_is_revoked_although_it_was_the_first() -> None:
    worker, _ = worker_with(2)
    assert [one.job.id for one in worker.revoke_prefetched(7, 8)] == [1, 2]
    assert worker.execution is None
    assert worker.load() == 0


def test_an_order_that_a_worker_does_not_take_goes_to_another(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, workers=2)
    harness.add(*(Job(f"quick{number}", runonce=True) for number in range(300)))
    harness.pass_time(SECOND)  # so that lines are formed
    harness.fake_workers[0].refuses_prefetch = True
    harness.add(*(Job(f"late{number}", runonce=True) for number in range(60)))
    harness.pass_time(SECOND)
    assert len({one.job for one in harness.ran}) == len(harness.ran) == 360


def test_the_timeout_of_a_prefetched_run_counts_from_its_start() -> None:
    worker, line = worker_with(0)
    job = Job("job", id=1, options=Options(timeout=SECOND))
    for serial in (1, 2):
        order = Order(serial, "job", 1, "task", None, {}, 0, 1, None, 1)
        worker.start(Claim(job, JobState(1)), order, 10, 20)
    line.takes()
    line.ends(1)
    assert worker.parse_message(line.said.popleft()) is not None
    worker.finish(3 * SECOND, 4 * SECOND)
    assert worker.execution is not None
    assert worker.execution.expires_at == 5 * SECOND


def test_every_order_fits_into_a_packet() -> None:
    odd = "\x01" * 10_900  # six characters each in JSON: as long as arguments may be
    options = Options(task="t" * 255, args={"a": odd}, command=None)
    packet = encode_order(Order(2**60, "n" * 255, 2**60, options.task, None, options.args, 2**60, 2**60, 1e9, 2**60))
    assert len(packet) <= MAX_ORDER
    assert MAX_PREFETCH <= SLOTS


def test_a_slow_task_delays_none_behind_it(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, workers=2)
    harness.takes = lambda order: SLOW if order.job == "slow" else QUICK
    harness.add(*(Job(f"quick{number}", runonce=True) for number in range(300)))
    harness.pass_time(SECOND)
    assert len(harness.ran) == 300
    began = harness.clock.monotonic()
    harness.add(*(Job(name, runonce=True) for name in ("a", "slow", *(f"late{number}" for number in range(40)))))
    harness.pass_time(2 * SECOND)
    late = [one.monotonic - began for one in harness.ran if one.job.startswith("late")]
    assert len(late) == 40
    assert max(late) < 20 * MILLISECOND
    assert any(worker.most_prefetched for worker in harness.fake_workers), "no order was prefetched"


def test_an_order_revoked_from_behind_a_slow_run_does_not_return_there(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, workers=1)
    harness.takes = lambda order: SLOW if order.job == "slow" else QUICK
    harness.add(*(Job(f"quick{number}", runonce=True) for number in range(300)))
    harness.pass_time(SECOND)
    (fake_worker,) = harness.fake_workers
    before = fake_worker.orders_received
    harness.add(*(Job(name, runonce=True) for name in ("slow", *(f"late{number}" for number in range(40)))))
    harness.pass_time(3 * SECOND)
    assert len(harness.ran) == 341
    assert fake_worker.orders_received - before <= 41 + MAX_PREFETCH


def test_a_run_that_must_not_start_needlessly_is_never_prefetched(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, workers=1)
    harness.takes = lambda order: QUICK
    harness.add(*(Job(f"quick{number}", runonce=True) for number in range(200)))
    harness.pass_time(SECOND)
    for fake_worker in harness.fake_workers:
        fake_worker.most_prefetched = 0
    careful = [Job(f"careful{number}", runonce=True, options=Options(on_lost="fail")) for number in range(20)]
    fresh = [Job(f"fresh{number}", runonce=True, options=Options(isolation="fresh")) for number in range(3)]
    program = [Job(f"program{number}", runonce=True, options=Options(command=("true",))) for number in range(20)]
    harness.add(*careful, *program, *fresh)
    harness.pass_time(SECOND)
    assert not any(fake_worker.most_prefetched for fake_worker in harness.fake_workers)
