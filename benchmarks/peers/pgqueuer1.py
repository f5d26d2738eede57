"""pgqueuer on PostgreSQL by asyncpg, one process, its default batch. What repeats plans its next run itself."""

import asyncio
import datetime
import time

import asyncpg
import harness
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

done = 0
pairs: harness.Pairs = []


async def opened(url: str) -> tuple[Queries, PgQueuer]:
    """The queue in an empty database, and what runs it; STORE is its URL."""
    queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    await queries.install()
    return queries, PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))


async def drain(jobs: int, url: str, patience: float) -> dict[str, float]:
    queries, runner = await opened(url)

    @runner.entrypoint("noop")
    async def noop(job: Job) -> None:
        global done
        done += 1

    for begin in range(0, jobs, 1_000):
        some = min(1_000, jobs - begin)
        await queries.enqueue(["noop"] * some, [None] * some, [0] * some)
    worker = asyncio.create_task(runner.run())
    found = await asyncio.to_thread(harness.wait, lambda: done, jobs, patience)
    worker.cancel()
    return harness.drained(*found)


async def every(jobs: int, seconds: float, window: float, url: str) -> dict[str, float]:
    queries, runner = await opened(url)

    def ahead(moment: float) -> datetime.timedelta:
        return datetime.timedelta(seconds=max(0.0, moment - time.time()))

    @runner.entrypoint("again")
    async def again(job: Job) -> None:
        due = float(job.payload or 0)
        pairs.append((due, time.time()))
        await queries.enqueue("again", b"%f" % (due + seconds), execute_after=ahead(due + seconds))

    dues = harness.due_times(jobs, seconds)
    await queries.enqueue(["again"] * jobs, [b"%f" % due for due in dues], [0] * jobs, [ahead(due) for due in dues])
    worker = asyncio.create_task(runner.run())
    found = await asyncio.to_thread(harness.observed, dues, seconds, window, pairs)
    worker.cancel()
    return found


harness.main(lambda *given: asyncio.run(drain(*given)), lambda *given: asyncio.run(every(*given)))
