"""The tasks of a chaos run: each records durably its start, its progress and its end.

It is copied into the plugins folder of every installation. A line: what, job, run, due time, attempt, token, monotonic
seconds.
"""

import os
import time

import jobd

INSTALLATION = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def note(what: str) -> None:
    """Write a line, and have it on the disk before going on."""
    run = jobd.current_run()
    line = f"{what} {run.job} {run.run} {run.due_time} {run.attempt} {run.token} {time.monotonic():.6f}\n"
    descriptor = os.open(f"{INSTALLATION}/canary.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.fsync(descriptor)
    os.close(descriptor)


@jobd.task
def brief() -> None:
    note("began")
    note("ended")


@jobd.task
def lasting(seconds: str = "1") -> None:
    note("began")
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        time.sleep(0.05)
        note("lives")
    note("ended")
