"""The tasks of a combination, copied into the plugins folder: each writes down what it is given, prints and returns.

A line of the file `witness` is one JSON object, written with one call: `begin`, `said` after each line that was
printed, and `end` with how it will end. What is printed has a tag that names run, attempt and line.
"""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time

import jobd

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "witness")


def note(what, **more):
    run = jobd.current_run()
    line = {"what": what, "job": run.job, "run": run.run, "attempt": run.attempt, "due": run.due_time}
    line |= {"token": run.token, "pid": os.getpid(), "at": time.monotonic(), **more}
    descriptor = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


def tag(number):
    run = jobd.current_run()
    return f"<{run.job}|{run.run}|{run.attempt}|{number}>"


def speak(say, how):
    for number in range(say):
        text = tag(number)
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


def finish(say, fails, end, value):
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
def act(say, how, seconds, fails, end, value, mark):
    note("begin", mark=mark)
    speak(say, how)
    time.sleep(seconds)
    return finish(say, fails, end, value)


@jobd.task
async def act_async(say, how, seconds, fails, end, value, mark):
    note("begin", mark=mark)
    speak(say, how)
    await asyncio.sleep(seconds)
    return finish(say, fails, end, value)
