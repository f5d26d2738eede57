"""Start: from the start of the daemon to the first run; and how much memory the daemon has then, workers not counted.

The limits: the start and the memory of a Python that has imported click, peewee and nothing else.
"""

import sys
import time

from benchmarks.common import FINISHED, arguments, figure, installations, later, ratio
from benchmarks.limits import python
from benchmarks.processes import cost, resident

BARE = "import click, sqlite3, sys; [sys.modules.setdefault(n, None) for n in ('psycopg', 'pymysql')]; import peewee"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=100, help="stored jobs that are not due")
    options = parser.parse_args()
    for kind in options.databases:
        firsts, memory, bare_seconds, bare_memory = [], [], [], []
        with installations(kind) as fresh, fresh() as jobd:
            jobd.define(options.jobs, later)
            for number in range(options.rounds):
                bare_seconds.append(python(BARE, jobd.environ))
                bare_memory.append(cost([sys.executable, "-c", BARE], jobd.environ).peak)
                jobd.jobd("add", f"first{number}", "--task", "noop", "--once")
                began = time.time()
                with jobd.daemon() as process:
                    jobd.wait_for(FINISHED, number + 1, 60, pause=0.3)
                    time.sleep(2)
                    memory.append(resident(process.pid))
                ((started,),) = jobd.rows("SELECT max(started_time) FROM run")
                firsts.append(started / 1e6 - began)
        first = figure(f"{kind}: start of the daemon to the first run", firsts, "s", 3)
        limit = figure("limit: python, click, peewee", bare_seconds, "s", 3)
        ratio(f"{kind}: first run / limit", first, limit)
        resident_now = figure(f"{kind}: daemon memory", memory, "MiB")
        limit = figure("limit: python, click, peewee", bare_memory, "MiB")
        ratio(f"{kind}: memory / limit", resident_now, limit)


if __name__ == "__main__":
    main()
