"""Drain: run-once jobs, all due; each runs in a worker process and is durably recorded. SQLite, synchronous=FULL."""

import argparse

from benchmarks.common import figure, installation, raw_commits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rates, defines, limits = [], [], []
    for _ in range(options.rounds):
        limits.append(raw_commits())
        with installation() as jobd:
            defines.append(options.jobs / jobd.define(options.jobs, None, True))
            with jobd.daemon():
                jobd.wait_for("SELECT count(*) FROM run", options.jobs, 120)
            ((began, ended, good),) = jobd.rows(
                "SELECT min(started_time), max(finished_time), sum(outcome = 'succeeded') FROM run"
            )
            assert good == options.jobs, f"{good} of {options.jobs} succeeded"
            rates.append(options.jobs / ((ended - began) / 1e6))
    drained = figure("drained", rates, "runs/s", 0)
    figure("defined by `jobd apply`", defines, "jobs/s", 0)
    limit = figure("limit: recorded runs, 100 a commit, plain sqlite3", limits, "runs/s", 0)
    print(f"drained / limit: {drained / limit:.3f}")


if __name__ == "__main__":
    main()
