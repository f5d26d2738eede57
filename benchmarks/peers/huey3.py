"""Huey 3 on SQLite with fsync, one thread as a worker. It has no interval below a minute: a task plans its next run."""

import datetime
import time

import harness
import huey

done = 0
pairs: harness.Pairs = []


def set_up(path: str) -> huey.SqliteHuey:
    """The queue; STORE is the path of its file."""
    return huey.SqliteHuey("bench", filename=path, fsync=True, utc=False)


def start(queue: huey.SqliteHuey) -> None:
    """Begin to run what is due."""
    queue.create_consumer(workers=1, worker_type="thread", scheduler_interval=1).start()


def drain(jobs: int, path: str, patience: float) -> dict[str, float]:
    queue = set_up(path)

    @queue.task()
    def noop() -> None:
        global done
        done += 1

    for _ in range(jobs):
        noop()
    start(queue)
    return harness.drained(*harness.wait(lambda: done, jobs, patience))


def every(jobs: int, seconds: float, window: float, path: str) -> dict[str, float]:
    queue = set_up(path)

    @queue.task()
    def again(due: float) -> None:
        pairs.append((due, time.time()))
        again.schedule(args=(due + seconds,), eta=datetime.datetime.fromtimestamp(due + seconds))

    dues = harness.due_times(jobs, seconds)
    for due in dues:
        again.schedule(args=(due,), eta=datetime.datetime.fromtimestamp(due))
    start(queue)
    return harness.observed(dues, seconds, window, pairs)


harness.main(drain, every)
