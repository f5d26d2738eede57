"""The case that must always work, with the repository's own plugins and configuration, in a real terminal."""

import contextlib
import json
import os
import pty
import re
import select
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINE = re.compile(r'\{"level":"[a-z]+","msg":".*","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"\}')


class Terminal:
    """A terminal in which one command runs."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.lines: list[str] = []
        self._rest = b""
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(folder)
            os.environ["PYTHONPATH"] = str(ROOT)
            os.environ["TZ"] = "Asia/Shanghai"
            os.execv(sys.executable, [sys.executable, "-m", "jobd", *command])

    def read(self, seconds: float, until: str | None = None, times: int = 1) -> None:
        """Read what appears within so many seconds, until the command ends, or until so many lines contain `until`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._terminal], [], [], left)[0]:
                return
            try:
                data = os.read(self._terminal, 65536)
            except OSError:
                return  # EIO: the command has ended
            *lines, self._rest = (self._rest + data).split(b"\r\n")
            self.lines += [line.decode().removeprefix("^C") for line in lines]
            if until is not None and sum(until in line for line in self.lines) >= times:
                return

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def end(self) -> int:
        """Wait for the end of the command; its exit code."""
        self.read(20)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._terminal)
        self._pid = 0
        return code

    def close(self) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, 9)
            self.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("jobd.toml", "plugins"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


@contextlib.contextmanager
def terminal(folder: Path, *command: str) -> Iterator[Terminal]:
    opened = Terminal(folder, *command)
    try:
        yield opened
    finally:
        opened.close()


def answer(folder: Path, *command: str) -> str:
    with terminal(folder, *command) as asked:
        assert asked.end() == 0, asked.lines
        return "\n".join(asked.lines)


@pytest.mark.quiet
def test_the_seed_case(folder: Path) -> None:
    answer(folder, "add", "task1", "--every", "10s", "--if-not-exists")
    answer(folder, "add", "task2", "--once", "--if-not-exists")
    answer(folder, "add", "task3", "--once", "--retry", "3", "--if-not-exists")
    with terminal(folder, "start", "--foreground") as daemon:
        daemon.read(60, "task1 running.....", times=3)
        daemon.type(b"\x03")
        assert daemon.end() == 0
        assert all(LINE.fullmatch(line) for line in daemon.lines), daemon.lines
        logged = [json.loads(line) for line in daemon.lines]
        messages = [one["msg"] for one in logged]
        running = [message for message in messages if message.endswith(" running.....")]
        # A retry at once may come before the first run of a task that waits for its worker to import the plugins.
        at_once = ["task1 running.....", "task2 running.....", *["task3 running....."] * 4]
        assert sorted(running[:6]) == at_once
        assert running[6:] == ["task1 running....."] * 2
        first = next(one["time"] for one in logged if one["msg"] == "task1 running.....")
        assert first.endswith("+08:00")
        assert abs((datetime.fromisoformat(first) - datetime.now().astimezone()).total_seconds()) < 60
        assert messages[-1] == "jobd has stopped"

    history = json.loads(answer(folder, "history", "--json"))
    third, second, first_run = (run for run in history if run["job"] == "task1")
    due = [datetime.fromisoformat(run["due_time"]) for run in (first_run, second, third)]
    assert [(later - earlier).total_seconds() for earlier, later in pairwise(due)] == [10, 10]
    for run in (second, third):  # the first one waits for its worker, which is still being started
        late = datetime.fromisoformat(run["started_time"]) - datetime.fromisoformat(run["due_time"])
        assert 0 <= late.total_seconds() < 0.1
    begun = [datetime.fromisoformat(run["started_time"]) for run in history if run["job"] == "task2"]
    assert len(begun) == 1
    assert abs((begun[0] - datetime.fromisoformat(first_run["started_time"])).total_seconds()) < 1
    (task3,) = (run for run in history if run["job"] == "task3")
    assert (task3["outcome"], task3["attempts"]) == ("failed", 4)

    with terminal(folder, "start", "--foreground") as daemon:
        daemon.read(15, "task1 running.....")
        daemon.type(b"\x03")
        assert daemon.end() == 0
        assert [line for line in daemon.lines if "task2" in line or "task3" in line] == []
        assert any("task1 running....." in line for line in daemon.lines)
