"""python -m tests.simulation COUNT [FIRST]: run the simulations of COUNT seeds, and print the traces of failures."""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.cluster import SimCluster

CHUNK = 20
TRACE_LINES = int(os.environ.get("TRACE_LINES", "60"))  # of a failed seed


def main() -> None:
    """Run the seeds that the arguments give."""
    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began = time.monotonic()
    failed: list[int] = []
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for failures in pool.map(run, chunks):
            for seed, error, trace_lines in failures:
                if len(failed) < 3:
                    print("\n".join(trace_lines))
                print(f"JOBD_SIM_SEED={seed}: {error}", flush=True)
                failed.append(seed)
    print(f"{count} seeds from {first}, {len(failed)} failed {failed}, {time.monotonic() - began:.0f} s")
    sys.exit(bool(failed))


def run(seeds: range) -> list[tuple[int, str, list[str]]]:
    """The seeds that fail: (seed, reason, the end of the trace)."""
    failures = []
    for seed in seeds:
        cluster = SimCluster(seed)
        try:
            cluster.run()
        except Exception as error:
            failures.append((seed, f"{type(error).__name__}: {error}", cluster.trace_lines[-TRACE_LINES:]))
    return failures


if __name__ == "__main__":
    main()
