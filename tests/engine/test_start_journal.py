"""The start journal: what one daemon has recorded, the next one reads, from a real file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobd.engine.start_journal import CAPACITY, NAME, open_start_journal
from jobd.errors import JobdError

RECORD_AND_DIE = """
import os, signal, sys
from jobd.engine.start_journal import open_start_journal
open_start_journal(sys.argv[1]).record(7, 3, 1_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_new_journal_is_empty(tmp_path: Path) -> None:
    assert open_start_journal(str(tmp_path)).read() == {}


def test_the_starts_of_a_killed_daemon_are_read_by_the_next_one(tmp_path: Path) -> None:
    daemon = subprocess.run([sys.executable, "-c", RECORD_AND_DIE, str(tmp_path)])
    assert daemon.returncode == -signal.SIGKILL
    assert open_start_journal(str(tmp_path)).read() == {(7, 3): 1_000}


def test_a_start_belongs_to_one_claim_and_the_newest_start_of_it_counts(tmp_path: Path) -> None:
    journal = open_start_journal(str(tmp_path))
    for token, started in ((3, 10), (4, 20), (4, 30)):
        journal.record(7, token, started)
    assert open_start_journal(str(tmp_path)).read() == {(7, 3): 10, (7, 4): 30}


def test_the_newest_starts_replace_the_oldest(tmp_path: Path) -> None:
    journal = open_start_journal(str(tmp_path))
    for number in range(CAPACITY + 2):
        journal.record(number, 1, 5)
    kept = open_start_journal(str(tmp_path)).read()
    assert len(kept) == CAPACITY
    assert (kept.keys() & {(0, 1), (1, 1)}, (2, 1) in kept, (CAPACITY + 1, 1) in kept) == (set(), True, True)


def test_the_whole_file_is_allocated_for_its_owner_alone(tmp_path: Path) -> None:
    open_start_journal(str(tmp_path))
    about = (tmp_path / NAME).stat()
    assert (about.st_mode & 0o777, about.st_blocks * 512 >= about.st_size > 0) == (0o600, True)


@pytest.mark.parametrize("obstacle", ["a folder", "a link"])
def test_a_file_that_cannot_be_used_is_an_error_with_its_path(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / NAME
    if obstacle == "a folder":
        path.mkdir()
    else:
        os.symlink(tmp_path / "elsewhere", path)
    with pytest.raises(JobdError, match=NAME):
        open_start_journal(str(tmp_path))
