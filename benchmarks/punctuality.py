"""Punctuality: one job every second on an idle machine, and how late it starts."""

import argparse
import select
import time

from benchmarks.common import figure, installation, percentile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with installation() as jobd:
        jobd.jobd("add", "tick", "--task", "noop", "--every", "1s")
        with jobd.daemon():
            jobd.wait_for("SELECT count(*) FROM run", options.seconds + 1, options.seconds + 30)
        late = [
            (started - due) / 1_000
            for due, started in jobd.rows("SELECT due_time, started_time FROM run ORDER BY number LIMIT -1 OFFSET 1")
        ]
    figure("start - due", late, "ms", 3)
    print(f"p50 {percentile(late, 0.5):.3f} ms, p99 {percentile(late, 0.99):.3f} ms")
    overshoot = []
    for _ in range(50):
        began = time.perf_counter()
        select.select([], [], [], 0.02)
        overshoot.append((time.perf_counter() - began - 0.02) * 1_000)
    figure("limit: select() wakes up late by", overshoot, "ms", 3)


if __name__ == "__main__":
    main()
