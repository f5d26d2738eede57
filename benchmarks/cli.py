"""Command line: `jobd list`, Tab on a job's name and every `--help` against `python -c pass`, in alternation.

20 jobs on SQLite. The limits: `python -c pass`, and a Python that imports sqlite3, or click, and nothing else.
"""

import statistics
import sys
from collections.abc import Iterable

from benchmarks.common import JOBD, TAB, arguments, figure, installations, ratio
from benchmarks.processes import Cost, cost
from jobd.cli.group import COMMANDS

PASS = "python -c pass"


def interleaved(
    commands: dict[str, list[str]], environs: dict[str, dict[str, str]], plain: dict[str, str], rounds: int
) -> dict[str, list[Cost]]:
    """What each command took in each round; the first round only warms the caches."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            one = cost(command, environs.get(name, plain))
            if number:
                costs[name].append(one)
    return costs


def show(costs: dict[str, list[Cost]], of_interest: Iterable[str]) -> None:
    """Print how long each command took, and how those of interest stand to `python -c pass`."""
    times = {name: [1_000 * one.seconds for one in found] for name, found in costs.items()}
    medians = {name: figure(name, values, "ms") for name, values in times.items()}
    worked = {name: statistics.median(one.processor for one in found) for name, found in costs.items()}
    for name in of_interest:
        ratio(f"{name} / {PASS}", medians[name], medians[PASS])
        ratio(f"{name} / {PASS}, processor time", worked[name], worked[PASS])


def main() -> None:
    parser = arguments(__doc__, rounds=15, databases=("sqlite",))
    options = parser.parse_args()
    commands = {
        PASS: [sys.executable, "-c", "pass"],
        "python -c 'import sqlite3'": [sys.executable, "-c", "import sqlite3"],
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "jobd list": [*JOBD, "list"],
        "jobd list --json": [*JOBD, "list", "--json"],
        "Tab on a name": JOBD,
    }
    helps = {f"jobd {name} --help".replace("  ", " "): [*JOBD, *name.split(), "--help"] for name in ("", *COMMANDS)}
    for kind in options.databases:
        with installations(kind) as fresh, fresh() as jobd:
            jobd.define(20, lambda number: 'interval = "1h"')
            costs = interleaved(commands, {"Tab on a name": jobd.environ | TAB}, jobd.environ, options.rounds)
            helped = interleaved({PASS: commands[PASS]} | helps, {}, jobd.environ, max(1, options.rounds // 3))
        print(f"{kind}:")
        show(costs, list(commands)[3:])
        medians = {name: statistics.median(one.seconds for one in found) for name, found in helped.items()}
        bare = medians.pop(PASS)
        slowest = max(medians, key=lambda name: medians[name])
        figure(f"every --help / {PASS}, {len(medians)} commands", [value / bare for value in medians.values()], "x", 2)
        print(f"the slowest: {slowest}")


if __name__ == "__main__":
    main()
