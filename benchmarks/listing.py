"""Listing: `jobd list --json` of 100,000 jobs, its time and its peak memory, which should not grow with the jobs.

The limit: a Python that fetches as many rows of the same tables with plain sqlite3 and writes them as JSON.
"""

import sys

from benchmarks.common import JOBD, Installation, arguments, figure, installations, later, ratio
from benchmarks.processes import Cost, cost
from jobd.store.url import parse_url

PLAIN = """
import json, sqlite3, sys
rows = sqlite3.connect(sys.argv[1]).execute("SELECT * FROM job JOIN schedule ON job_id = id")
for row in rows:
    print(json.dumps(row))
"""
FEW = 1_000


def listed(jobd: Installation) -> Cost:
    """What the command took."""
    return cost([*JOBD, "list", "--json"], jobd.environ)


def main() -> None:
    parser = arguments(__doc__, databases=("sqlite",))
    parser.add_argument("--jobs", type=int, default=100_000)
    options = parser.parse_args()
    for kind in options.databases:
        with installations(kind) as fresh, fresh() as few, fresh() as many:
            few.define(FEW, later)
            many.define(options.jobs, later)
            small = [listed(few) for _ in range(options.rounds)]
            large, plain = [], []
            for _ in range(options.rounds):
                large.append(listed(many))
                if kind == "sqlite":
                    command = [sys.executable, "-c", PLAIN, parse_url(many.url).path]
                    plain.append(cost(command, many.environ))
        took = figure(f"{kind}: jobd list --json, {options.jobs:,} jobs", [one.seconds for one in large], "s", 3)
        if plain:
            limit = figure(
                "limit: fetched and written by plain sqlite3 and json", [one.seconds for one in plain], "s", 3
            )
            ratio(f"{kind}: listed / limit", took, limit)
        peak = figure(f"{kind}: peak memory, {options.jobs:,} jobs", [one.peak for one in large], "MiB")
        least = figure(f"{kind}: peak memory, {FEW:,} jobs", [one.peak for one in small], "MiB")
        ratio(f"{kind}: peak memory, many jobs / few", peak, least)


if __name__ == "__main__":
    main()
