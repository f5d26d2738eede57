"""The WorkQueue: what goes in with a moment comes out at that moment."""

from jobd.engine.queue import Item, WorkQueue
from jobd.job import Job, Options, Plan


def item(job_id: int, priority: int = 0) -> Item:
    return Item(Job(f"job{job_id}", id=job_id, options=Options(priority=priority)), Plan(job_id))


def drained(queue: WorkQueue, now: int) -> list[int]:
    popped = []
    while (one := queue.pop(now)) is not None:
        popped.append(one.job.id)
    return popped


def test_an_item_comes_out_at_its_moment_and_not_before() -> None:
    queue = WorkQueue()
    queue.put(item(1), 100)
    assert queue.pop(99) is None
    assert queue.peek() == (100, item(1))
    assert drained(queue, 100) == [1]
    assert queue.peek() is None


def test_items_come_out_in_the_order_of_their_moments_then_priority_then_arrival() -> None:
    queue = WorkQueue()
    for one, moment in ((item(1), 30), (item(2), 10), (item(3), 20), (item(4, priority=5), 20), (item(5), 20)):
        queue.put(one, moment)
    assert drained(queue, 30) == [2, 4, 3, 5, 1]


def test_what_is_taken_back_does_not_come_out() -> None:
    queue = WorkQueue()
    queue.put(item(1), 10)
    queue.put(item(2), 20)
    taken = queue.take_back(1)
    assert taken is not None
    assert taken.job.id == 1
    assert queue.take_back(1) is None
    assert len(queue) == 1
    assert queue.peek() == (20, item(2))
    assert drained(queue, 100) == [2]


def test_a_job_is_in_the_queue_at_most_once() -> None:
    queue = WorkQueue()
    queue.put(item(1), 10)
    queue.put(item(1), 50)
    assert len(queue) == 1
    assert queue.pop(10) is None
    assert drained(queue, 50) == [1]


def test_taking_all_empties_the_queue() -> None:
    queue = WorkQueue()
    for job_id in (1, 2, 3):
        queue.put(item(job_id), job_id)
    queue.take_back(2)
    assert sorted(one.job.id for one in queue.take_all()) == [1, 3]
    assert len(queue) == 0
    assert queue.pop(1000) is None
