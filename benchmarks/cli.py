"""Command line: `jobd list`, Tab on a job's name and every `--help` against `python -c pass`, turn and turn about.

20 jobs on SQLite. The limits: `python -c pass`, and a Python that imports sqlite3, or click, and nothing else.
"""

import statistics
import sys

from benchmarks.common import JOBD, TAB, arguments, figure, house, ratio
from benchmarks.processes import seconds
from jobd.cli.group import COMMANDS

PASS = "python -c pass"


def interleaved(
    commands: dict[str, list[str]], environs: dict[str, dict[str, str]], plain: dict[str, str], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of each command in each round; the first round only warms the caches."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            took = 1_000 * seconds(command, environs.get(name, plain))
            if number:
                times[name].append(took)
    return times


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
        with house(kind) as fresh, fresh() as jobd:
            jobd.define(20, lambda number: 'interval = "1h"')
            times = interleaved(commands, {"Tab on a name": jobd.environ | TAB}, jobd.environ, options.rounds)
            helped = interleaved({PASS: commands[PASS]} | helps, {}, jobd.environ, max(1, options.rounds // 3))
        middle = {name: figure(f"{kind}: {name}", values, "ms") for name, values in times.items()}
        for name in list(commands)[3:]:
            ratio(f"{kind}: {name} / {PASS}", middle[name], middle[PASS])
        medians = {name: statistics.median(values) for name, values in helped.items()}
        bare = medians.pop(PASS)
        slowest = max(medians, key=lambda name: medians[name])
        figure(f"every --help, medians of {len(medians)} commands", list(medians.values()), "ms")
        ratio(f"the slowest, {slowest} / {PASS}", medians[slowest], bare)


if __name__ == "__main__":
    main()
