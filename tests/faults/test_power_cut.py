"""Acknowledged changes survive a power cut at every moment: real commands and a real daemon, on SQLite.

strace records their writes. power.py repeats these on a disk that loses all unflushed data, or keeps any
part of it. After each step the database is opened. It must be undamaged and contain every acknowledged change.
"""

import contextlib
import os
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.edits import STORED, edits, judge, stored
from tests.faults.helpers import notes
from tests.faults.power import SAID, replay, watched
from tests.installation import Installation

SEED = 20_260_724
PEOPLE = ("ann", "bob")  # they type at the same time
EDITS = 7  # of each
ONCE = [f"once{number}" for number in range(4)]
RUNS = """
    SELECT name, outcome, ready_time IS NULL, "lastFinished_time" IS NULL FROM job
    LEFT JOIN schedule ON schedule.job_id = job.id LEFT JOIN run ON run.job_id = job.id WHERE name LIKE 'once%'
"""
WRITER = """
import sqlite3, sys
connection = sqlite3.connect("jobd.db", isolation_level=None)
for pragma in sys.argv[1:]:
    connection.execute("PRAGMA " + pragma)
connection.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, filling TEXT)")
with open("acknowledged", "a", buffering=1) as said:
    for number in range(20):
        connection.execute("INSERT INTO row VALUES (?, ?)", (number, "-" * 2_000))
        print(number, file=said)
"""
Files = dict[str, bytes]
Rows = list[tuple[Any, ...]]


def spelled(installation: Installation, *words: str) -> str:
    """A command, for the shell."""
    return shlex.join(installation.command(*words))


def cuts(trace: Path, folder: Path, share: float = 1) -> Iterator[tuple[list[str], Files]]:
    """(what was said before it, the files that are left after it) of power cuts.

    Everything unflushed is lost, at every moment when that makes a difference; or any part of it is, at a share of all.
    """
    random = Random(SEED)
    before = None
    for disk in replay(trace, folder / "jobd.db"):
        if before != (before := (disk.flushes, len(disk.said))):
            yield disk.said, disk.left()
        if random.random() < share:
            yield disk.said, disk.left(random)


def opened(files: Files, folder: Path, sql: str) -> Rows:
    """What the database shows when the power is back; nothing when it has no tables yet. It must be whole."""
    for name in ("jobd.db", "jobd.db-wal", "jobd.db-journal", "jobd.db-shm"):
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with contextlib.closing(sqlite3.connect(folder / "jobd.db")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchall():
            return []
        return connection.execute(sql).fetchall()


def test_acknowledged_changes_survive_a_power_cut(installation: Installation, tmp_path: Path) -> None:
    script = ""
    for author in PEOPLE:
        commands = [spelled(installation, *edit.words) for edit in islice(edits(author, SEED), EDITS)]
        script += f"({' && '.join(f'{command} && echo {author} >> {SAID}' for command in commands)}) &\n"
    trace = watched(script + "wait", installation.folder, installation.environ)
    for said, files in cuts(trace, installation.folder):
        found = stored(opened(files, tmp_path, STORED))
        for author in PEOPLE:
            judge(found, author, SEED, said.count(author))
    assert len(said) == EDITS * len(PEOPLE)


def test_reported_outcomes_survive_a_power_cut_and_other_runs_are_run_again(
    installation: Installation, tmp_path: Path
) -> None:
    adds, waits = [], []
    for name in ONCE:
        add = spelled(installation, "add", name, "--task", "naps", "--once", "--force")
        adds.append(f"{add} && echo {name} >> {SAID}")
        is_done = f"{spelled(installation, 'history', name, '--json')} | grep -q succeeded"
        waits.append(f"until {is_done}; do kill -0 $! || exit 1; done; echo ran {name} >> {SAID}")
    script = [
        f"{spelled(installation, 'start', '--foreground')} 2> log &",
        f"until {spelled(installation, 'status')} > status; do kill -0 $! || exit 1; done",
        spelled(installation, "add", "busy", "--task", "quick", "--every", "100ms", "--force"),
        adds[0],
        *(line for pair in zip(adds[1:], waits, strict=False) for line in pair),
        waits[-1],
        f"{spelled(installation, 'stop')}; wait",
    ]
    trace = watched("\n".join(script), installation.folder, installation.environ)
    restored: Files = {}
    for said, files in cuts(trace, installation.folder, 0.2):
        found = {row[0]: row for row in opened(files, tmp_path, RUNS)}
        for name in ONCE:
            added, ran = (name, None, 0, 1), (name, "succeeded", 1, 0)
            allowed = [ran] if f"ran {name}" in said else [added, ran] if name in said else [None, added, ran]
            assert found.get(name) in allowed
        if not restored and ONCE[-1] in said:
            restored = files
    assert len(said) == 2 * len(ONCE)
    shutil.rmtree(installation.state)
    (installation.folder / "notes").unlink()
    done = {name for name, outcome, *_ in opened(restored, installation.folder, RUNS) if outcome}
    installation.foreground()
    for name in ONCE:
        assert installation.ended(name)[0]["outcome"] == "succeeded"
    assert {line.split()[1] for line in notes(installation)} - {"busy"} == set(ONCE) - done


@pytest.mark.parametrize(
    ("pragmas", "loses", "breaks"),
    [
        ("journal_mode=WAL synchronous=FULL", False, False),
        ("journal_mode=WAL synchronous=FULL wal_autocheckpoint=5", False, False),
        ("journal_mode=WAL synchronous=NORMAL", True, False),
        ("journal_mode=WAL synchronous=OFF wal_autocheckpoint=5", True, True),
        ("journal_mode=DELETE synchronous=EXTRA", False, False),
        ("journal_mode=DELETE synchronous=FULL", True, False),  # the journal's end is not flushed with the folder
        ("journal_mode=DELETE synchronous=OFF", True, True),
    ],
)
def test_a_writer_that_does_not_flush_is_found_out(tmp_path: Path, pragmas: str, loses: bool, breaks: bool) -> None:
    rebuilt = tmp_path / "rebuilt"
    rebuilt.mkdir()
    trace = watched(shlex.join([sys.executable, "-c", WRITER, *pragmas.split()]), tmp_path, dict(os.environ))
    lost: set[str] = set()
    broken = 0
    for said, files in cuts(trace, tmp_path):
        try:
            lost |= set(said) - {str(number) for (number,) in opened(files, rebuilt, "SELECT number FROM row")}
        except (AssertionError, sqlite3.DatabaseError):
            broken += 1
    assert len(said) == 20
    assert (len(lost) == 20 if loses else not lost, broken > 0) == (True, breaks)
