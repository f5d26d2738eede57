"""python -m tests.combine [--database sqlite] [--first 0] [--seeds 10] [--seconds 20] [--script FILE] [--keep DIR]

Plays seeds one after the other and prints what is wrong. A failing seed is cut down to a short script (--shrink).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.combine.judge import judge
from tests.combine.play import Record, databases, keep, play
from tests.combine.scenario import Scenario, draw, from_json
from tests.combine.shrink import shrink


def main() -> int:
    """The number of the exit code: 1 when something was found."""
    given = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="jobd-combine-") as folder, databases(given.database, Path(folder)) as new:
        if given.script:
            scenarios = [from_json(Path(given.script).read_text())]
        else:
            shared = given.database != "sqlite"
            scenarios = [draw(seed, given.seconds, shared) for seed in range(given.first, given.first + given.seeds)]
        bad = sum(_fails(scenario, new, given.keep, given.shrink) for scenario in scenarios)
    print(f"{len(scenarios) - bad} passed, {bad} failed")
    return int(bad > 0)


def _fails(scenario: Scenario, new: Callable[[Path], str], kept: str | None, plays: int) -> bool:
    """Whether anything is wrong with a scenario; says what, and cuts it down in at most so many plays."""
    began = time.monotonic()
    record, findings = _once(scenario, new, kept)
    size = f"{len(scenario.jobs)} jobs, {len(scenario.steps)} steps, {scenario.nodes} nodes, {len(record.history)} runs"
    print(f"seed {scenario.seed}: {size}, {time.monotonic() - began:.0f} s: {len(findings)} findings", flush=True)
    for text in findings[:20]:
        print(f"  {text}", flush=True)
    if findings and plays:
        kind = findings[0].partition(":")[0]
        small = shrink(scenario, lambda one: any(text.startswith(kind) for text in _once(one, new, None)[1]), plays)
        print(small.to_json(), flush=True)
    return bool(findings)


def _once(scenario: Scenario, new: Callable[[Path], str], kept: str | None) -> tuple[Record, list[str]]:
    with tempfile.TemporaryDirectory(prefix="jobd-combine-") as folder:
        record = play(scenario, Path(folder), new(Path(folder)))
        findings = judge(record)
        if findings and kept:
            keep(Path(folder), Path(kept) / f"seed-{scenario.seed}", record)
        return record, findings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.combine", description=__doc__)
    parser.add_argument("--database", default="sqlite")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--script", help="a scenario as it was printed, instead of seeds")
    parser.add_argument("--keep", help="a folder for what failing seeds leave behind")
    parser.add_argument("--shrink", type=int, default=0, metavar="N", help="cut a failing seed down in at most N plays")
    return parser


if __name__ == "__main__":
    sys.exit(main())
