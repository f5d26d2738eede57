"""One chaos run: three real daemons on one database, a client that adds and removes jobs, faults, then the judge."""

import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.chaos.checker import Acknowledged, judge
from tests.chaos.cluster import cluster
from tests.chaos.faults import Faults
from tests.installation import Installation

REST = 25  # seconds for everything to be made good when the faults are over
INTERVALS = {"every1": 1.0, "every2": 2.0, "often": 0.5}


class Report(NamedTuple):
    """What came of it."""

    wrong: list[str]
    faults: list[str]
    runs: int
    acknowledged: int

    def __str__(self) -> str:
        kinds = Counter(" ".join(word for word in line.split()[1:] if not word.isdigit()) for line in self.faults)
        counted = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
        return f"{self.runs} executions, {self.acknowledged} acknowledged changes, {len(self.faults)} faults: {counted}"


def chaos(kind: str, seconds: float, seed: int, folder: Path, clocks: bool = False) -> Report:
    """Three daemons on a database of this kind; with `clocks` theirs are put forward and back too."""
    with cluster(kind, folder, clocks) as breakable:
        installation = breakable.installations[0]
        _define(installation)
        client = _Client(breakable.installations)
        faults = Faults(seed, breakable)
        faults.run(seconds)
        client.rest()
        time.sleep(REST)
        finished_at = time.monotonic()
        history = _history(installation, client)
        runs = breakable.executions()
        wrong = judge(runs, client.acknowledged, faults.freezes, INTERVALS, history, finished_at, clocks)
        return Report(faults.wrong + breakable.complaints() + wrong, faults.done, len(runs), len(client.acknowledged))


def _define(installation: Installation) -> None:
    every = {"every1": "1s", "every2": "2s", "often": "500ms"}
    for name, step in every.items():
        installation.fine("add", name, "--task", "brief", "--every", step, "--catch-up", "all")
    for number in range(3):
        installation.fine(
            "add", f"lasting{number}", "--task", "lasting", "--every", "4s", "--arg", f"seconds={number + 1}"
        )


def _history(installation: Installation, client: "_Client") -> dict[str, list[tuple[str, str]]]:
    names = [*INTERVALS, *(f"lasting{number}" for number in range(3))]
    names += [one.job for one in client.acknowledged if one.what == "add"][:40]
    return {
        name: [(run["due_time"], run["outcome"]) for run in installation.fine("history", name, "-n", "10000", "--json")]
        for name in names
    }


class _Client:
    """Adds jobs to be run once, and removes some, and notes what was acknowledged."""

    def __init__(self, installations: list[Installation]) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.others: Counter[int] = Counter()  # exit codes that acknowledge nothing
        self._installations = installations
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def rest(self) -> None:
        """Stop."""
        self._done.set()
        self._thread.join()

    def _work(self) -> None:
        number = 0
        while not self._done.wait(0.5):
            number += 1
            installation = self._installations[number % len(self._installations)]
            name = f"once{number}"
            if number % 5 == 0:
                if self._do(installation, "add", name, "--task", "brief", "--in", "30s"):
                    self._do(installation, "rm", name)
            else:
                self._do(installation, "add", name, "--task", "brief", "--once")

    def _do(self, installation: Installation, what: str, name: str, *more: str) -> bool:
        answer = installation.jobd(what, name, *more)
        assert "Traceback" not in answer.stderr, answer.stderr
        if answer.returncode == 0:
            self.acknowledged.append(Acknowledged(what, name, time.monotonic()))
        else:
            self.others[answer.returncode] += 1
        return answer.returncode == 0


def main() -> None:
    """Run one chaos test: `python -m tests.chaos.run KIND SECONDS [SEED [clocks]]`."""
    kind, seconds = sys.argv[1], float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    folder = Path(tempfile.mkdtemp(prefix="jobd-chaos-"))
    report = chaos(kind, seconds, seed, folder, sys.argv[4:] == ["clocks"])
    print(f"{kind}, {seconds:g} s, seed {seed}: {report}")
    print("\n".join(report.wrong) or "nothing lost, nothing twice")
    if report.wrong:
        print("\n".join(report.faults), f"\n{folder} is kept")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
