"""Celery 5 on Redis, two prefork workers, no result backend (its default).

Only the drain is measured, until Redis holds neither waiting nor unacknowledged messages: Celery's beat does not tell a
task when it was due.
"""

import os
import subprocess
import sys

import harness
import redis
from celery import Celery

app = Celery("celery5", broker=os.environ.get("BENCH_BROKER") or sys.argv[3])
app.conf.broker_connection_retry_on_startup = True


@app.task(name="noop")
def noop() -> None:
    """What every job does."""


def drain(jobs: int, url: str, patience: float) -> dict[str, float]:
    broker = redis.Redis.from_url(url)
    broker.flushall()
    for _ in range(jobs):
        noop.delay()
    command = [sys.executable, "-m", "celery", "-A", "celery5", "worker", "-P", "prefork", "-c", "2", "-l", "ERROR"]
    worker = subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle"],
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env={**os.environ, "BENCH_BROKER": url, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def left() -> int:
        return int(broker.llen("celery")) + int(broker.hlen("unacked"))

    harness.wait(lambda: jobs - int(broker.llen("celery")), 1, 30)  # it has begun
    began_with = jobs - left()
    done, seconds = harness.wait(lambda: jobs - left(), jobs, patience)
    worker.terminate()
    worker.wait(30)
    return harness.drained(done - began_with, seconds)


if __name__ == "__main__":
    harness.main(drain)
