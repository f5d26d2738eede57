"""Burst: many jobs due at the same moment; when the last of them starts.

The limit: how long the plain driver takes to record as many runs, 100 a commit.
"""

import time

from benchmarks.common import FINISHED, arguments, due_at, figure, installations, ratio
from benchmarks.limits import recorded_runs


def main() -> None:
    parser = arguments(__doc__, databases=("sqlite",))
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    for kind in options.databases:
        last, limits = [], []
        with installations(kind) as fresh:
            for _ in range(options.rounds):
                with fresh() as jobd:
                    limits.append(options.jobs * 1e3 / recorded_runs(jobd.url))
                    due = jobd.define_ahead(options.jobs, due_at, 3 + options.jobs / 2_500)
                    with jobd.daemon():
                        time.sleep(max(0.0, due - time.time()))
                        jobd.wait_for(FINISHED, options.jobs, 60, pause=0.5)
                    last.append(jobd.rows("SELECT max(started_time - due_time) FROM run")[0][0] / 1_000)
        middle = figure(f"{kind}: the last of {options.jobs:,} jobs starts after", last, "ms", 0)
        limit = figure(f"{kind}: limit, as many runs recorded by the plain driver", limits, "ms", 0)
        ratio(f"{kind}: last start / limit", middle, limit)


if __name__ == "__main__":
    main()
