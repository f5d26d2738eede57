"""The WorkQueue: an item that is put in with a time comes out at that time."""

from jobd.claim import Claim
from jobd.engine.queue import WorkQueue
from jobd.job import Job, JobState


def claim(job_id: int, priority: int = 0) -> Claim:
    return Claim(Job(f"job{job_id}", id=job_id), JobState(job_id, priority=priority))


def drained(queue: WorkQueue, now: int) -> list[int]:
    popped = []
    while (one := queue.pop(now)) is not None:
        popped.append(one.job.id)
    return popped


def test_an_item_comes_out_at_its_time_and_not_before() -> None:
    queue = WorkQueue()
    queue.put(claim(1), 100)
    assert queue.pop(99) is None
    assert queue.peek(99) == (100, claim(1))
    assert drained(queue, 100) == [1]
    assert queue.peek(100) is None


def test_due_items_come_out_by_priority_then_time_then_arrival() -> None:
    queue = WorkQueue()
    for one, moment in (
        (claim(1), 30),
        (claim(2), 10),
        (claim(3), 20),
        (claim(4, priority=5), 20),
        (claim(5), 20),
        (claim(6, priority=-1), 5),
        (claim(7, priority=5), 31),
    ):
        queue.put(one, moment)
    assert queue.oldest() == 5
    assert queue.peek(4) == (5, claim(6, priority=-1)), "nothing is due: the earliest"
    assert queue.peek(15) == (10, claim(2))
    assert drained(queue, 30) == [4, 2, 3, 5, 1, 6]
    assert queue.peek(30) == (31, claim(7, priority=5))
    assert drained(queue, 31) == [7]
    assert queue.oldest() is None


def test_removed_items_do_not_pile_up_behind_one_that_stays() -> None:
    queue = WorkQueue()
    queue.put(claim(1), 9)
    for _ in range(10_000):
        queue.put(claim(2), 20)
        queue.remove(2)
    assert sum(map(len, queue._heaps.values())) < 100
    queue.put(claim(3), 5)
    assert drained(queue, 30) == [3, 1]


def test_the_queue_counts_the_items_that_an_urgent_one_overtakes() -> None:
    queue = WorkQueue()
    assert queue.overtaken(2) is None
    for number, priority in enumerate((0, 0, 0, -5, 7)):
        queue.put(claim(number, priority), 10)
    assert queue.overtaken(1) == (7, 0), "the next one has 7: only what has more would come before it"
    assert queue.overtaken(2) == (0, 1)
    assert queue.overtaken(5) == (-5, 4)
    assert queue.overtaken(9) == (-5, 4)
    queue.pop(10)
    queue.remove(0)
    queue.put(claim(1, -5), 10)
    assert queue.overtaken(1) == (0, 0)
    assert queue.overtaken(2) == (-5, 1)
    queue.take_all()
    assert queue.overtaken(1) is None


def test_a_removed_item_does_not_come_out() -> None:
    queue = WorkQueue()
    queue.put(claim(1), 10)
    queue.put(claim(2), 20)
    taken = queue.remove(1)
    assert taken is not None
    assert taken.job.id == 1
    assert queue.remove(1) is None
    assert len(queue) == 1
    assert queue.peek(0) == (20, claim(2))
    assert drained(queue, 100) == [2]


def test_a_job_is_in_the_queue_at_most_once() -> None:
    queue = WorkQueue()
    queue.put(claim(1), 10)
    queue.put(claim(1), 50)
    assert len(queue) == 1
    assert queue.pop(10) is None
    assert drained(queue, 50) == [1]


def test_taking_all_empties_the_queue() -> None:
    queue = WorkQueue()
    for job_id in (1, 2, 3):
        queue.put(claim(job_id), job_id)
    queue.remove(2)
    assert sorted(one.job.id for one in queue.take_all()) == [1, 3]
    assert len(queue) == 0
    assert queue.pop(1000) is None
