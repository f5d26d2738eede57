"""The tasks of a combination, copied into the plugins folder: each records its input, its output and its result.

A line of the file `witness` is one JSON object, written with one call: `begin`, `said` after each printed line, and
`end` with the way in which the task will end. Each printed line has a tag that names run, attempt and line.
"""

import asyncio
import faulthandler
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from typing import Any

import jobd

VERSION = 0
HOME = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
FILE = os.path.join(HOME, "..", "witness")
NODE = int(os.path.basename(os.path.abspath(HOME))[len("node") :])


def note(what: str, **more: Any) -> None:
    run = jobd.current_run()
    line: dict[str, Any] = {"what": what, "job": run.job, "run": run.run, "attempt": run.attempt, "due": run.due_time}
    line |= {"token": run.token, "pid": os.getpid(), "at": time.monotonic(), **more}
    write(line)


def write(line: dict[str, Any]) -> None:
    descriptor = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


def begin(mark: int) -> None:
    note("begin", mark=mark, node=NODE, version=VERSION, born=born(), state=state(), thorough_state=thorough_state())


def born() -> int:
    """The start time of this process, which distinguishes it from another process with the same id."""
    with open("/proc/self/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def state() -> dict[str, Any]:
    """The state of the process that is restored after each run."""
    return {
        "blocking": os.get_blocking(1),
        "SIGPIPE": str(signal.getsignal(signal.SIGPIPE)),
        "SIGUSR1": str(signal.getsignal(signal.SIGUSR1)),
        "alarm": signal.getitimer(signal.ITIMER_REAL) != (0, 0),
        "directory": os.getcwd(),
        "umask": umask(),
        "environment": os.environ.get("LEFT"),
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
    }


def thorough_state() -> dict[str, Any]:
    """The state of the process that is restored in a thorough check."""
    return {
        "timers": [signal.getitimer(which) != (0, 0) for which in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        "faulthandler": faulthandler.is_enabled(),
        "stdin": os.readlink("/proc/self/fd/0"),
        "affinity": sorted(os.sched_getaffinity(0)),
    }


def umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value


def leave(what: str) -> None:
    """Change the process; the change outlives this run unless it is undone."""
    if what == "nonblock":
        os.set_blocking(1, False)
    elif what == "nonblock child":
        subprocess.run([sys.executable, "-ISc", "import os; os.set_blocking(1, False)"], check=True)
    elif what == "sigpipe":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    elif what == "handler":
        signal.signal(signal.SIGUSR1, lambda *_: None)
    elif what == "alarm":
        signal.setitimer(signal.ITIMER_REAL, 3600)
    elif what == "timers":
        signal.setitimer(signal.ITIMER_VIRTUAL, 3600)
        signal.setitimer(signal.ITIMER_PROF, 3600)
    elif what == "faulthandler":
        faulthandler.enable()
    elif what == "stdin":
        with open("/etc/hostname") as file:
            os.dup2(file.fileno(), 0)
    elif what == "descriptor":
        fcntl.fcntl(os.open("/etc/hostname", os.O_RDONLY), fcntl.F_SETFD, 0)
    elif what == "directory":
        os.chdir("/")
    elif what == "umask":
        os.umask(0)
    elif what == "environment":
        os.environ["LEFT"] = "behind"
    elif what == "mask":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    elif what == "affinity":
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


def tag(number: int, pad: int) -> str:
    run = jobd.current_run()
    return f"<{run.job}|{run.run}|{run.attempt}|{number}>" + "." * pad


def speak(say: int, how: str, pad: int) -> None:
    for number in range(say):
        text = tag(number, pad)
        if how == "logging":
            logging.getLogger("witness").warning(text)
        elif how == "child":
            subprocess.run(["echo", text], check=True)
        elif how == "raw":
            os.write(1, text.encode() + b"\n")
        elif how == "partial":
            sys.stdout.write(text)
        else:
            print(text)
    sys.stdout.flush()
    note("said", lines=say)


def finish(say: int, fails: int, end: str, value: Any) -> Any:
    run = jobd.current_run()
    if run.attempt > fails:
        note("end", ended="return", value=value, lines=say)
        return value
    note("end", ended=end if end != "return" else "raise", value=None, lines=say)
    if end == "exit":
        os._exit(3)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError(f"attempt {run.attempt} fails")


@jobd.task
def act(
    say: int, how: str, pad: int, seconds: float, fails: int, end: str, leaves: str, mark: int, value: Any = None
) -> Any:
    begin(mark)
    speak(say, how, pad)
    if seconds:
        time.sleep(seconds)
    leave(leaves)
    return finish(say, fails, end, value)


@jobd.task
async def act_async(
    say: int, how: str, pad: int, seconds: float, fails: int, end: str, leaves: str, mark: int, value: Any = None
) -> Any:
    begin(mark)
    speak(say, how, pad)
    await asyncio.sleep(seconds)
    leave(leaves)
    return finish(say, fails, end, value)


@jobd.task
def plain() -> None:
    begin(0)
    note("end", ended="return", value=None, lines=0)
