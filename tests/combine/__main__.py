"""Plays seeds, several at a time, and prints the findings.

python -m tests.combine [--database sqlite,mysql] [--first 0] [--seeds 10 | --each] [--fresh 1] [--jobs 4] …

A failing seed is reduced to a short script (--shrink).
"""

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.combine.judge import judge
from tests.combine.play import databases, keep, play
from tests.combine.record import Record
from tests.combine.scenario import Scenario, from_json
from tests.combine.shrink import shrink
from tests.combine.situations import SITUATIONS, draw
from tests.installation import ROOT

New = Callable[[Path], str]  # returns the URL of an empty database


class Session:
    """Plays on one kind of database, and their results."""

    def __init__(
        self, kind: str, new: New, kept: str | None = None, plays: int = 0, seconds: float = 20, code: Path = ROOT
    ) -> None:
        self.kind, self.plays, self.runs, self.found = kind, 0, 0, 0
        self._new, self._kept, self._most, self._seconds, self._code = new, kept, plays, seconds, code

    def draw(self, seed: int) -> Scenario:
        """The scenario of a seed on this database."""
        return draw(seed, self._seconds, self.kind != "sqlite")

    def fails(self, scenario: Scenario) -> bool:
        """Whether a scenario has findings; prints them, and reduces the scenario."""
        began = time.monotonic()
        record, findings = self.once(scenario)
        runs = len(record.history) if record is not None else 0
        self.plays, self.runs, self.found = self.plays + 1, self.runs + runs, self.found + bool(findings)
        size = f"{len(scenario.jobs)} jobs, {len(scenario.steps)} steps, {scenario.nodes} nodes"
        memory = record.memory // 1024 if record is not None else 0
        took = f"{runs} runs, {memory} MiB, {time.monotonic() - began:.0f} s"
        lines = [f"seed {scenario.seed} ({scenario.kind}, {self.kind}): {size}, {took}: {len(findings)} findings"]
        print("\n".join([*lines, *(f"  {text}" for text in findings[:20])]), flush=True)
        if findings and self._most:
            kind = findings[0].partition(":")[0]
            small = shrink(scenario, lambda one: any(text.startswith(kind) for text in self.once(one)[1]), self._most)
            print(small.to_json(), flush=True)
        return bool(findings)

    def once(self, scenario: Scenario) -> tuple[Record | None, list[str]]:
        """Play a scenario. Return its record (None if the play could not be completed) and the findings."""
        with tempfile.TemporaryDirectory(prefix="jobd-combine-", ignore_cleanup_errors=True) as folder:
            record = None
            try:
                record = play(scenario, Path(folder), self._new(Path(folder)), self._code)
                findings = judge(record)
            except AssertionError as error:
                findings = [f"play: {str(error)[-500:]}"]
            if findings and self._kept:
                keep(Path(folder), Path(self._kept) / f"{self.kind}-{scenario.seed}", record)
            return record, findings


def main() -> int:
    """Return the exit code: 1 if there were findings."""
    given = _parser().parse_args()
    began, kinds = time.monotonic(), given.database.split(",")
    with contextlib.ExitStack() as stack:
        sessions = [
            Session(kind, stack.enter_context(databases(kind)), given.keep, given.shrink, given.seconds)
            for kind in kinds
        ]
        if given.script:
            plays = [(one, from_json(Path(given.script).read_text())) for one in sessions]
        else:
            plays = [(one, one.draw(seed)) for seed in _seeds(given) for one in sessions]
        with ThreadPoolExecutor(given.jobs) as pool:
            bad = sum(pool.map(lambda play: play[0].fails(play[1]), plays))
    taken = sum(map(sum, (resource.getrusage(who)[:2] for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))))
    for one in sessions:
        print(f"{one.kind}: {one.plays} plays, {one.runs} runs, {one.found} with findings")
    took = f"{(time.monotonic() - began) / 60:.1f} minutes, {taken / max(1, len(plays)):.0f} s of processor time each"
    print(f"{len(plays) - bad} passed, {bad} failed in {took}")
    return int(bad > 0)


def _seeds(given: argparse.Namespace) -> list[int]:
    first = given.first if given.first >= 0 else _fresh()
    seeds = _one_of_each(first) if given.each else [*range(first, first + given.seeds)]
    fresh = [_fresh() for _ in range(given.fresh)]
    print(f"seeds {' '.join(map(str, seeds))}, fresh {' '.join(map(str, fresh)) or 'none'}", flush=True)
    return seeds + fresh


def _fresh() -> int:
    return int.from_bytes(os.urandom(4), "big")


def _one_of_each(first: int) -> list[int]:
    """The first seed that draws each situation."""
    seeds: dict[str, int] = {}
    while len(seeds) < len(SITUATIONS):
        seeds.setdefault(draw(first, 1, shared=True).kind, first)
        first += 1
    return [*seeds.values()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.combine", description=__doc__)
    known = "sqlite, mariadb, mysql, postgresql, pgbouncer; several with commas between them"
    parser.add_argument("--database", default="sqlite", help=known)
    parser.add_argument("--first", type=int, default=0, help="the first seed; -1: a fresh one")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--each", action="store_true", help="from the first on, one seed of each situation")
    parser.add_argument("--fresh", type=int, default=0, metavar="N", help="so many seeds more that nobody has played")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many plays at a time")
    parser.add_argument("--script", help="a scenario as it was printed, instead of seeds")
    parser.add_argument("--keep", help="a folder for what failing seeds leave behind")
    parser.add_argument("--shrink", type=int, default=0, metavar="N", help="cut a failing seed down in at most N plays")
    return parser


if __name__ == "__main__":
    sys.exit(main())
