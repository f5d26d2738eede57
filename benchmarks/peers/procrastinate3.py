"""Procrastinate 3 on PostgreSQL, one worker, 20 at a time. What repeats every few seconds plans its next run itself."""

import asyncio
import datetime
import time

import harness
import procrastinate

done = 0
pairs: harness.Pairs = []


async def opened(url: str) -> procrastinate.App:
    """An app on an empty database; STORE is its URL."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=2, max_size=10))
    await app.open_async()
    await app.schema_manager.apply_schema_async()
    return app


def start(app: procrastinate.App) -> "asyncio.Task[None]":
    """Begin to run what is due."""
    return asyncio.create_task(app.run_worker_async(concurrency=20, install_signal_handlers=False))


async def drain(jobs: int, url: str, patience: float) -> dict[str, float]:
    app = await opened(url)

    @app.task
    async def noop() -> None:
        global done
        done += 1

    for begin in range(0, jobs, 1_000):
        await noop.batch_defer_async(*[{}] * min(1_000, jobs - begin))
    worker = start(app)
    found = await asyncio.to_thread(harness.wait, lambda: done, jobs, patience)
    worker.cancel()
    return harness.drained(*found)


async def every(jobs: int, seconds: float, window: float, url: str) -> dict[str, float]:
    app = await opened(url)

    def at(moment: float) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(moment, datetime.UTC)

    @app.task
    async def again(due: float) -> None:
        pairs.append((due, time.time()))
        await again.configure(schedule_at=at(due + seconds)).defer_async(due=due + seconds)

    dues = harness.due_times(jobs, seconds)
    await asyncio.gather(*(again.configure(schedule_at=at(due)).defer_async(due=due) for due in dues))
    worker = start(app)
    found = await asyncio.to_thread(harness.observed, dues, seconds, window, pairs)
    worker.cancel()
    return found


harness.main(lambda *given: asyncio.run(drain(*given)), lambda *given: asyncio.run(every(*given)))
