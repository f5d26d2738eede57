"""Writers that die: each is a process that types command after command, until it is killed at a random moment.

python -m tests.cli.writers CONFIG SEED COUNT AT_ONCE tells on its standard output what was acknowledged, a line each:
the writer's number, how many edits it has done, and the exit code of the last. A writer is killed a random while after
a random edit, so that it is at work whether the machine is quick or slow.
"""

import os
import select
import signal
import sys
import tempfile
import time
from functools import partial
from random import Random
from typing import NoReturn

import psycopg  # noqa: F401 - what is imported here, no writer has to import
import pymysql  # noqa: F401

from jobd.__main__ import run
from jobd.cli import finish
from tests.edits import edits

MOST_EDITS = 10  # after which a writer is killed, or before
LONGEST = 0.03  # seconds that it may live after that: longer than an edit takes


def main(config: str, seed: int, count: int, at_once: int) -> None:
    """Have `count` writers born and killed."""
    random = Random(seed)
    heard, report = os.pipe()
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _warm_up()
    last_edit: dict[int, int] = {}
    alive: dict[int, int] = {}
    ends: dict[int, float] = {}
    while len(last_edit) < count or alive:
        if len(last_edit) < count and len(alive) < at_once:
            number = len(last_edit)
            last_edit[number] = random.randint(0, MOST_EDITS)
            alive[number] = os.fork() or write(config, seed, number, report)
            if not last_edit[number]:
                ends[number] = time.monotonic() + random.uniform(0, LONGEST)
            continue
        wait = max(0.0, min(ends.values()) - time.monotonic()) if ends else None
        if select.select([heard], [], [], wait)[0]:
            lines = os.read(heard, 65_536)  # whole ones: a pipe takes a short line at once or not at all
            os.write(answers, lines)
            for number, done, code in (map(int, line.split()) for line in lines.splitlines()):
                if number in alive and (done == last_edit[number] or code):
                    ends.setdefault(number, time.monotonic() + random.uniform(0, LONGEST))
        for number in [number for number, moment in ends.items() if moment <= time.monotonic()]:
            del ends[number]
            os.kill(alive[number], signal.SIGKILL)
            os.waitpid(alive.pop(number), 0)
    os.close(report)
    while lines := os.read(heard, 65_536):
        os.write(answers, lines)


def write(config: str, seed: int, number: int, report: int) -> NoReturn:
    """Type until killed, or refused."""
    code = 0
    for done, edit in enumerate(edits(f"w{number}", seed), 1):
        code = finish(partial(run, ["--config", config, *edit.words]))
        os.write(report, f"{number} {done} {code}\n".encode())
        if code:
            break
    os._exit(code)


def _warm_up() -> None:
    """Import all that the command line needs, on a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "jobd.toml")
        with open(config, "w") as file:
            file.write('database = "sqlite:///jobd.db"\n[pool.big]\nworkers = 1\n')
        for edit, _ in zip(edits("warm", 1), range(5), strict=False):
            assert finish(partial(run, ["--config", config, *edit.words])) == 0


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
